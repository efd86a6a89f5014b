# frozen_string_literal: true

require "json"
require "litestream_vfs"

# A service that counts ratings, for servers of many processes: each worker reads the same copy.
module Ratings
  # Opens the database. Each worker does so for itself, after it was forked.
  def self.open
    @db = LitestreamVfs.connect(
      ENV.fetch("LITESTREAM_REPLICA_URL"),
      hydration_enabled: true,
      hydration_path: ENV.fetch("RATINGS_COPY", "/tmp/ratings.copy")
    )
  end

  def self.call(_env)
    count, status = @db.get_first_row("SELECT count(*), litestream_status() FROM sandwich_ratings")
    body = JSON.generate(pid: Process.pid, count: count, hydration: JSON.parse(status)["hydration"])
    [200, { "content-type" => "application/json" }, [body]]
  end
end
