# frozen_string_literal: true

# packages/ruby/build puts VERSION, LICENSE, NOTICE and the library beside this file, and names the platform.
Gem::Specification.new do |s|
  s.name = "litestream_vfs"
  s.version = File.read(File.join(__dir__, "VERSION")).strip
  s.platform = ENV.fetch("LITESTREAM_GEM_PLATFORM")
  s.summary = "SQLite databases opened in place on object storage, for the gem sqlite3"
  s.homepage = "https://github.com/ltxvfs/litestream/tree/main/packages/ruby"
  s.authors = ["the authors of ltxvfs/litestream"]
  s.license = "Apache-2.0"
  s.required_ruby_version = ">= 3.0"
  s.files = Dir.chdir(__dir__) { Dir["lib/**/*"].select { |f| File.file?(f) } + %w[VERSION LICENSE NOTICE README.md] }
end
