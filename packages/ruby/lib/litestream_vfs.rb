# frozen_string_literal: true

require "erb"

# SQLite databases opened in place on object storage, for the gem sqlite3.
#
#   db = LitestreamVfs.connect("s3://bucket/app.db")
#   db.get_first_value("SELECT count(*) FROM users")
module LitestreamVfs
  VERSION = File.read(File.expand_path("../VERSION", __dir__)).strip

  # The options of a database.
  OPTIONS = %i[
    poll_interval poll_idle_after cache_size index_size read_ahead_size hedge_requests
    open_timeout read_timeout close_timeout wait_for_replica close_delay
    hydration_enabled hydration_mode hydration_path offline_after hydration_concurrency hydration_rate_limit
    write_enabled sync_interval buffer_path buffer_max_size sync_on_commit
    compaction_disabled compaction_levels snapshot_interval snapshot_retention l0_retention
  ].freeze

  class << self
    # The path of the loadable extension.
    def loadable_path
      library = %w[so dylib].map { |suffix| File.join(__dir__, "litestream_vfs", "litestream.#{suffix}") }.find { |path| File.exist?(path) }
      library or raise LoadError, "this gem of litestream_vfs has no library; install that of a platform"
    end

    # Loads the extension, for the whole process; any connection will do. The connection may not
    # load extensions afterwards.
    def load(db)
      db.enable_load_extension(true)
      begin
        db.load_extension(loadable_path)
      ensure
        db.enable_load_extension(false)
      end
    end

    # Opens the replica at a URL, and returns a SQLite3::Database. The hash database is passed on
    # to SQLite3::Database.new, as is a block.
    def connect(url, database: {}, **options, &block)
      require "sqlite3"
      name = uri(url, **options)
      memory = SQLite3::Database.new(":memory:")
      begin
        load(memory)
      ensure
        memory.close
      end
      open = SQLite3::Constants::Open
      database = database.dup
      mode = database.delete(:readonly) ? open::READONLY : open::READWRITE | open::CREATE
      SQLite3::Database.new(name, { flags: mode | open::URI }.merge(database), &block)
    end

    # The file name of a replica, for connections that take URIs and for ATTACH. Everything in it is
    # percent-encoded, so that it can be put in quotes in SQL.
    def uri(url, **options)
      raise TypeError, "want the URL of a replica, a String" unless url.is_a?(String) && !url.empty?

      # The name is for logs. It is absolute so as not to be that of a local file, and need not be there.
      name = url[/\A[^?#]*/][%r{([^/@]{1,100})/*\z}, 1] || "database"
      params = { vfs: "litestream", replica_url: url }.merge(settings(options))
      "file:/litestream/#{encode(name)}?" + params.map { |key, value| "#{key}=#{encode(value)}" }.join("&")
    end

    private

    # The options that are set.
    def settings(options)
      unknown = options.keys - OPTIONS
      raise ArgumentError, "unknown option: #{unknown.join(", ")}" unless unknown.empty?

      options.compact.each do |key, value|
        case value
        when String, Integer, true, false
        else raise TypeError, "option #{key}: want a String, an Integer, true or false"
        end
      end
    end

    def encode(value) = ERB::Util.url_encode(value.to_s)
  end
end
