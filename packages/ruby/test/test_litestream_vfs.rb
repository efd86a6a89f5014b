# frozen_string_literal: true

require_relative "helper"

class TestReading < Minitest::Test
  include Helper

  def test_every_row_of_the_newest_transaction
    db = LitestreamVfs.connect(sandwiches)
    assert_equal LATEST["tables"], tables(db)
    assert_equal "ok", db.get_first_value("PRAGMA integrity_check")
    assert_equal MANIFEST["txid"], db.get_first_value("SELECT litestream_txid()")
    assert_equal MANIFEST["txid"], db.get_first_value("PRAGMA litestream_txid")
  ensure
    db.close
  end

  def test_connect_takes_what_a_database_takes
    url = sandwiches
    rows = nil
    db = LitestreamVfs.connect(url, database: { results_as_hash: true }) do |d|
      rows = d.execute("SELECT count(*) AS n FROM sandwich_ratings")
    end
    assert_equal [{ "n" => LATEST["tables"]["sandwich_ratings"]["rows"] }], rows
    assert db.closed?
  end

  def test_loading_twice
    db = LitestreamVfs.connect(sandwiches)
    others = Array.new(2) { SQLite3::Database.new(":memory:") }
    others.each { |other| 2.times { LitestreamVfs.load(other) } }
    error = assert_raises(SQLite3::Exception) { others[0].execute("SELECT litestream_txid()") }
    assert_equal "the main database is not served by litestream", error.message
    assert_equal LATEST["tables"]["sandwich_ratings"]["rows"], db.get_first_value("SELECT count(*) FROM sandwich_ratings")
  ensure
    [db, *others].each(&:close)
  end

  def test_several_replicas
    dbs = [1, 2, 3].map do |n|
      LitestreamVfs.connect("#{STORES[:folder].call}/app.db", write_enabled: true, sync_interval: "-1s").tap do |db|
        db.execute("CREATE TABLE t AS SELECT #{n} AS x")
      end
    end
    assert_equal [1, 2, 3], dbs.map { |db| db.get_first_value("SELECT x FROM t") }
    assert_equal ["0000000000000001"] * 3, dbs.map { |db| db.get_first_value("SELECT litestream_sync()") }
  ensure
    dbs.each(&:close)
  end

  def test_names_that_mean_something_to_a_uri
    url = "#{STORES[:folder].call}/a'b c%3Fd&e%23f"
    LitestreamVfs.connect(url, write_enabled: true) { |db| db.execute("CREATE TABLE t AS SELECT 1 AS x") }
    db = LitestreamVfs.connect(url)
    db.execute("ATTACH '#{LitestreamVfs.uri(url)}' AS other")
    assert_equal 1, db.get_first_value("SELECT x FROM other.t")
  ensure
    db.close
  end
end

class TestTimeTravel < Minitest::Test
  include Helper

  def test_every_time_by_function
    db = LitestreamVfs.connect(sandwiches)
    MANIFEST["times"].each do |entry|
      time, txid = entry.values_at("time", "at_or_before_txid")
      unless txid
        error = assert_raises(SQLite3::Exception, time) { db.execute("SELECT litestream_set_time(?)", [time]) }
        assert_match(/transaction not available/, error.message, time)
        next
      end
      got = db.get_first_value("SELECT litestream_set_time(?)", [time])
      assert_equal txid, db.get_first_value("SELECT litestream_txid()"), time
      assert_equal got, db.get_first_value("SELECT litestream_time()")
      assert_operator got, :<=, time
    end
  ensure
    db.close
  end

  def test_transactions_by_pragma
    url = sandwiches
    past = LitestreamVfs.connect(url)
    now = LitestreamVfs.connect(url)
    MANIFEST["points"].each_slice(8).map(&:first).each do |point|
      past.execute("PRAGMA litestream_txid = '#{point["txid"]}'")
      assert_equal point["tables"], tables(past), point["txid"]
    end
    assert_equal LATEST["tables"], tables(now)
    past.execute("PRAGMA litestream_time = 'latest'")
    assert_equal LATEST["tables"], tables(past)
  ensure
    [past, now].each(&:close)
  end

  def test_now_and_then_in_one_query
    url = sandwiches
    db = LitestreamVfs.connect(url)
    db.execute("ATTACH '#{LitestreamVfs.uri(url)}' AS past")
    db.execute("PRAGMA past.litestream_time = '2026-03-14 11:59:49'")
    stars = ->(schema) { db.get_first_value("SELECT round(avg(stars), 2) FROM #{schema}.sandwich_ratings") }
    assert_equal [1.0, 2.99], [stars.call("main"), stars.call("past")]
  ensure
    db.close
  end

  def test_what_has_changed
    db = LitestreamVfs.connect(sandwiches)
    rows = db.execute("SELECT kind, rowid, old FROM litestream_changes('events', '0000000000000041')").map(&:to_a)
    assert_equal((66..69).map { |id| ["insert", id, nil] }, rows)
    error = assert_raises(SQLite3::SQLException) { db.execute("SELECT * FROM litestream_changes('none', 'latest')") }
    assert_match(/litestream_changes: no such table: none/, error.message)
  ensure
    db.close
  end

  def test_what_is_wrong_with_a_time
    db = LitestreamVfs.connect(sandwiches)
    ["SELECT litestream_set_time('yesteryear')", "PRAGMA litestream_time = 'yesteryear'"].each do |sql|
      error = assert_raises(SQLite3::SQLException) { db.execute(sql) }
      assert_match(/parse time "yesteryear": unknown form; try/, error.message)
    end
    MANIFEST["unavailable_txids"].each do |txid|
      error = assert_raises(SQLite3::Exception) { db.execute("PRAGMA litestream_txid = '#{txid}'") }
      assert_match(/transaction not available/, error.message)
    end
    assert_equal LATEST["tables"], tables(db)
  ensure
    db.close
  end
end

class TestWriting < Minitest::Test
  include Helper

  STORES.each do |store, make_url|
    define_method("test_written_here_and_read_in_another_process_#{store}") do
      url = make_url.call or skip "LITESTREAM_TEST_S3 or LITESTREAM_TEST_S3_BUCKET is not set, see scripts/servers"
      db = LitestreamVfs.connect(url, write_enabled: true, sync_interval: "-1s", buffer_path: temp_path("buffer"))
      db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
      db.transaction { %w[one two three].each { |text| db.execute("INSERT INTO t (text) VALUES (?)", [text]) } }
      assert_equal "0000000000000001", db.get_first_value("SELECT litestream_sync()")
      db.execute("UPDATE t SET text = 'gone'")
      assert_equal "0000000000000002", db.get_first_value("SELECT litestream_sync()")

      Program.run do |other|
        other.connect(url)
        assert_equal [%w[gone 0000000000000002]] * 3, other.execute("SELECT text, litestream_txid() FROM t")
        other.execute("PRAGMA litestream_txid = '0000000000000001'")
        assert_equal [["one"], ["two"], ["three"]], other.execute("SELECT text FROM t")
        error = assert_raises(RuntimeError) { other.execute("DELETE FROM t") }
        assert_equal "attempt to write a readonly database", error.message
      end
    ensure
      db&.close
    end

    define_method("test_following_what_another_process_writes_#{store}") do
      url = make_url.call or skip "LITESTREAM_TEST_S3 or LITESTREAM_TEST_S3_BUCKET is not set, see scripts/servers"
      Program.run do |other|
        other.connect(url, write_enabled: true, sync_interval: "50ms")
        other.execute("CREATE TABLE t (x)")
        other.execute("SELECT litestream_sync()")
        db = LitestreamVfs.connect(url, poll_interval: "50ms")
        1.upto(5) do |i|
          other.execute("INSERT INTO t VALUES (#{i})")
          eventually([i, i * (i + 1) / 2]) { db.get_first_row("SELECT count(*), sum(x) FROM t") }
        end
        assert_operator db.get_first_value("SELECT litestream_lag()"), :<=, 5
      ensure
        db&.close
      end
    end
  end
end

class TestHydration < Minitest::Test
  include Helper

  def test_the_database_comes_to_a_local_file
    file = temp_path("hydrated.db")
    db = LitestreamVfs.connect(sandwiches, hydration_enabled: true, hydration_path: file)
    eventually("complete") { db.get_first_value("SELECT litestream_hydration_status()") }
    assert_equal 100.0, db.get_first_value("SELECT litestream_hydration_progress()")
    assert_equal file, db.get_first_value("SELECT litestream_hydration_file()")
    assert_equal LATEST["tables"], tables(db)
    db.close
    SQLite3::Database.new(file, readonly: true) { |local| assert_equal LATEST["tables"], tables(local) }
  end
end

class TestLocalFiles < Minitest::Test
  include Helper

  def test_they_are_sqlites_own
    replica = LitestreamVfs.connect(sandwiches)
    file = temp_path("local.db")
    db = SQLite3::Database.new(file)
    assert_equal "wal", db.get_first_value("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE t AS SELECT 1 AS x")
    assert_operator File.size("#{file}-wal"), :>, 0
    Program.run do |other|
      other.send(:ask, local: file)
      other.execute("INSERT INTO t VALUES (2)")
    end
    assert_equal 3, db.get_first_value("SELECT sum(x) FROM t")
    assert_equal "ok", db.get_first_value("PRAGMA integrity_check")
    assert_equal MANIFEST["txid"], replica.get_first_value("SELECT litestream_txid()")
  ensure
    [replica, db].each(&:close)
  end
end

class TestErrors < Minitest::Test
  include Helper

  def assert_cannot_open(text, url, **options)
    error = assert_raises(SQLite3::CantOpenException) { LitestreamVfs.connect(url, **options) }
    assert_match(text, error.message)
  end

  def test_url
    assert_cannot_open(/no replica client is registered for url scheme "nosuch"/, "nosuch://bucket/x")
    assert_cannot_open(/colour/, "s3://bucket/x?colour=red")
  end

  def test_no_replica
    assert_cannot_open(/replica holds no database/, "file://#{temp_path}", wait_for_replica: "0")
  end

  def test_option
    assert_cannot_open(/invalid duration "soon", want one like 500ms or 1m30s/, sandwiches, poll_interval: "soon")
  end

  def test_storage_that_is_down
    port = dead_port
    start = now
    assert_cannot_open(/127\.0\.0\.1:#{port}: connect: connection refused/, "s3://bucket/x?endpoint=http://127.0.0.1:#{port}", open_timeout: "1s")
    assert_operator now - start, :<, 10
  end

  def test_writing_what_is_for_reading
    [[{}, {}], [{ write_enabled: true }, { readonly: true }]].each do |options, database|
      db = LitestreamVfs.connect(sandwiches, database: database, **options)
      error = assert_raises(SQLite3::ReadOnlyException) { db.execute("DELETE FROM sandwich_ratings") }
      assert_equal "attempt to write a readonly database", error.message
      assert_equal LATEST["tables"], tables(db)
    ensure
      db&.close
    end
  end

  def test_other_options_than_the_first_open_had
    url = sandwiches
    db = LitestreamVfs.connect(url)
    assert_cannot_open(/options/, url, cache_size: "1MiB")
  ensure
    db.close
  end
end

class TestThreads < Minitest::Test
  include Helper

  def test_each_with_connections_of_its_own
    url = sandwiches
    points = MANIFEST["points"].each_slice(20).map(&:first)
    threads = points.map do |point|
      Thread.new do
        past = LitestreamVfs.connect(url)
        now = LitestreamVfs.connect(url)
        past.execute("PRAGMA litestream_txid = '#{point["txid"]}'")
        Array.new(3) { [tables(past), tables(now)] }.uniq
      ensure
        [past, now].each(&:close)
      end
    end
    assert_equal points.map { |point| [[point["tables"], LATEST["tables"]]] }, threads.map(&:value)
  end
end

class TestFork < Minitest::Test
  include Helper

  FORKED = /\A(.*: )?litestream: this process was forked from one that had loaded the extension, which does not work after fork: .*load the extension after the fork\z/

  def test_after_loading
    file = temp_path("local.db")
    SQLite3::Database.new(file) { |db| db.execute("CREATE TABLE t AS SELECT 1 AS x") }
    lines, err = run_program("fork.rb", sandwiches, file)
    got = lines.to_h
    count = LATEST["tables"]["sandwich_ratings"]["rows"]
    assert_equal "bad parameter or other API misuse", got.delete("query")
    %w[function pragma connect open].each { |what| assert_match FORKED, got.delete(what), what }
    assert_equal({ "parent before" => count, "local" => 1, "close" => true, "child" => 0, "idle child" => 0,
                   "parent after" => count, "parent connects" => count, "subprocess" => "works" }, got)
    assert_match(/^litestream: this process was forked/, err) # where SQLite has a code only
  end

  def test_before_loading
    lines, = run_program("preload.rb", sandwiches)
    count = LATEST["tables"]["sandwich_ratings"]["rows"]
    assert_equal [count, count, [0, 0]], lines
  end
end

class TestGem < Minitest::Test
  include Helper

  def test_version
    assert_equal File.read(File.join(ROOT, "packages/VERSION")).strip, LitestreamVfs::VERSION
  end

  def test_licences
    gem = File.expand_path("../..", File.dirname(LitestreamVfs.loadable_path))
    assert_equal File.read(File.join(ROOT, "NOTICE"), encoding: "UTF-8"), File.read(File.join(gem, "NOTICE"), encoding: "UTF-8")
  end

  def test_loadable_path
    assert_operator File.size(LitestreamVfs.loadable_path), :>, 1 << 20
    refute LitestreamVfs.loadable_path.start_with?(ROOT)
  end

  def test_all_options
    names = File.read(File.join(ROOT, "options_text.go")).scan(/^\t\{"(\w+)", "[A-Z]/).flatten.map(&:to_sym)
    assert_equal names.sort, LitestreamVfs::OPTIONS.sort
  end

  def test_what_it_does_not_know
    assert_equal "unknown option: colour", assert_raises(ArgumentError) { LitestreamVfs.uri("file:///x", colour: 1) }.message
    assert_equal "option cache_size: want a String, an Integer, true or false",
                 assert_raises(TypeError) { LitestreamVfs.uri("file:///x", cache_size: 1.5) }.message
    [nil, "", 7].each do |url|
      assert_equal "want the URL of a replica, a String", assert_raises(TypeError) { LitestreamVfs.connect(url) }.message
    end
  end

  def test_uri
    assert_equal "file:/litestream/app.db?vfs=litestream&replica_url=s3%3A%2F%2Fbucket%2Fit%27s%2Fapp.db%3Fendpoint%3Dhttp%3A%2F%2Fh%3A1%26x%3D%2541%23f" \
                 "&write_enabled=true&cache_size=1024&buffer_path=%2Fa%20b%2F%C3%BC",
                 LitestreamVfs.uri("s3://bucket/it's/app.db?endpoint=http://h:1&x=%41#f",
                                   write_enabled: true, cache_size: 1024, buffer_path: "/a b/ü", sync_interval: nil)
    assert_match(%r{\Afile:/litestream/container\?}, LitestreamVfs.uri("abs://user:secret@container"))
    assert_match(%r{\Afile:/litestream/database\?}, LitestreamVfs.uri("/"))
  end
end

class TestReadme < Minitest::Test
  include Helper

  README = File.read(File.expand_path("../README.md", File.dirname($LOADED_FEATURES.grep(/litestream_vfs\.rb\z/).first)))

  def test_examples
    rows = LATEST["tables"]["sandwich_ratings"]["rows"]
    changed = 3994 # ratings that the disaster changed, and later ones
    want = [%(#{rows}\n"2026-03-14T11:59:48.309Z"\n#{rows}\n), "#{[{ "n" => changed }]}\n"]
    examples = README.scan(/^```ruby\n(.*?)^```/m).flatten
    assert_equal want.size, examples.size
    examples.zip(want) do |example, text|
      file = temp_path("example.rb")
      File.write(file, example.gsub("s3://bucket/app.db", sandwiches).gsub("users", "sandwich_ratings").gsub("5 minutes ago", "2026-03-14 11:59:49"))
      out, status = Open3.capture2e(RbConfig.ruby, "-W0", file)
      assert status.success?, out
      assert_equal text, out
    end
  end
end
