# frozen_string_literal: true

# Forks workers that load the extension, each for itself, as a web server that has preloaded its
# application does.

require "json"
require "sqlite3"

require "litestream_vfs"

$stdout.sync = true
pids = Array.new(2) do
  fork do
    db = LitestreamVfs.connect(ARGV[0])
    puts JSON.generate(db.get_first_value("SELECT count(*) FROM sandwich_ratings"))
  end
end
statuses = pids.map { |pid| Process.wait2(pid)[1].exitstatus }
puts JSON.generate(statuses)
