# frozen_string_literal: true

# What the tests have in common: replicas, programs in other processes, and waiting.

require "digest"
require "fileutils"
require "json"
require "minitest/autorun"
require "open3"
require "rbconfig"
require "securerandom"
require "socket"
require "sqlite3"
require "timeout"
require "tmpdir"

require "litestream_vfs"

module Helper
  DIR = Dir.mktmpdir("litestream-ruby-")
  Minitest.after_run { FileUtils.remove_entry(DIR) }

  ENV["LITESTREAM_LOG_FILE"] ||= File.join(DIR, "log")
  ENV["AWS_ACCESS_KEY_ID"] ||= "testkey"
  ENV["AWS_SECRET_ACCESS_KEY"] ||= "testsecret"

  ROOT = File.expand_path("../../..", __dir__)
  REPLICA = File.join(ROOT, "testdata/replicas/sandwiches")
  MANIFEST = JSON.parse(File.read(File.join(REPLICA, "manifest.json")))
  LATEST = MANIFEST["points"].find { |point| point["latest"] }
  PROGRAMS = File.join(__dir__, "programs")

  module_function

  def temp_path(name = "dir")
    @names = @names.to_i + 1
    File.join(DIR, "#{@names}-#{name}")
  end

  # The URL of a copy of the replica sandwiches.
  def sandwiches
    path = temp_path("sandwiches")
    FileUtils.cp_r(REPLICA, path)
    "file://#{path}"
  end

  # The URLs of an empty replica in each kind of store, nil for one that is not there.
  STORES = {
    folder: -> { "file://#{temp_path("replica")}" },
    s3: lambda do
      endpoint, bucket = ENV.values_at("LITESTREAM_TEST_S3", "LITESTREAM_TEST_S3_BUCKET")
      "s3://#{bucket}/#{SecureRandom.uuid}/app.db?endpoint=#{endpoint}" if endpoint && bucket
    end
  }.freeze

  # A port that nothing listens on.
  def dead_port
    server = TCPServer.new("127.0.0.1", 0)
    server.addr[1].tap { server.close }
  end

  # Waits until the block returns what is wanted.
  def eventually(want, seconds = 15)
    deadline = now + seconds
    got = yield
    while got != want && now < deadline
      sleep 0.02
      got = yield
    end
    raise Minitest::Assertion, "want #{want.inspect} after #{seconds} s, got #{got.inspect}" unless got == want
  end

  def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

  # Count and hash of each table, as the manifests of replicas have them.
  def tables(db)
    names = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").flatten
    names.to_h do |name|
      columns = db.execute("SELECT name FROM pragma_table_info(?)", [name]).flatten
      rows = db.execute(%(SELECT #{columns.map { |c| %(quote("#{c}")) }.join(" || '|' || ")} FROM "#{name}" ORDER BY rowid)).flatten
      [name, { "rows" => rows.size, "sha256" => Digest::SHA256.hexdigest(rows.map { |row| "#{row}\n" }.join) }]
    end
  end

  # Runs a program to its end, and returns what it printed, of JSON, and its standard error.
  def run_program(name, *args, seconds: 30)
    out, err, status = Open3.capture3("timeout", seconds.to_s, RbConfig.ruby, "-W0", File.join(PROGRAMS, name), *args)
    raise Minitest::Assertion, "#{name}: #{status}\n#{out}#{err}" unless status.success?

    [out.lines.map { |line| JSON.parse(line) }, err]
  end

  # A connection in another process, by programs/connect.rb.
  class Program
    # Yields one.
    def self.run
      stdin, stdout, thread = Open3.popen2(RbConfig.ruby, "-W0", File.join(PROGRAMS, "connect.rb"))
      result = yield new(stdin, stdout)
      stdin.close
      raise Minitest::Assertion, "connect.rb: #{thread.value}" unless thread.value.success?

      result
    ensure
      stdin.close unless stdin.closed?
      stdout.close
    end

    def initialize(stdin, stdout)
      @stdin = stdin
      @stdout = stdout
    end

    def connect(url, **options) = ask(connect: url, options: options)
    def execute(sql) = ask(sql: sql)

    private

    def ask(**request)
      @stdin.puts(JSON.generate(request))
      reply = Timeout.timeout(20) { JSON.parse(@stdout.readline) }
      raise reply["error"] if reply["error"]

      reply["rows"]
    end
  end
end
