# frozen_string_literal: true

# A connection for another process: a request a line, {"connect": url, "options": {...}}, {"local": file}
# or {"sql": "..."}, and a line back. It ends with its input.

require "json"
require "sqlite3"

require "litestream_vfs"

db = nil
$stdout.sync = true
$stdin.each_line do |line|
  request = JSON.parse(line)
  reply = begin
    if request["connect"]
      db = LitestreamVfs.connect(request["connect"], **request["options"].transform_keys(&:to_sym))
      { rows: [] }
    elsif request["local"]
      db = SQLite3::Database.new(request["local"])
      { rows: [] }
    else
      { rows: db.execute(request["sql"]) }
    end
  rescue StandardError => e
    { error: e.message }
  end
  puts JSON.generate(reply)
end
db&.close
