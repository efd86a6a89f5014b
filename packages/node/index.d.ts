/** Options of a database; the table in the README of the project has their meaning and defaults. */
export interface Options {
  /** Durations are text such as `500ms` or `1m30s`. */
  poll_interval?: string;
  poll_idle_after?: string;
  /** Sizes are bytes, or text such as `64MiB`. */
  cache_size?: number | string;
  read_ahead_size?: number | string;
  hedge_requests?: boolean;
  open_timeout?: string;
  read_timeout?: string;
  close_timeout?: string;
  close_delay?: string;
  hydration_enabled?: boolean;
  hydration_path?: string;
  hydration_concurrency?: number;
  hydration_rate_limit?: number | string;
  write_enabled?: boolean;
  sync_interval?: string;
  buffer_path?: string;
  buffer_max_size?: number | string;
  sync_on_commit?: boolean;
  compaction_disabled?: boolean;
  /** Durations with commas between them, such as `30s,5m,1h`. */
  compaction_levels?: string;
  snapshot_interval?: string;
  snapshot_retention?: string;
  l0_retention?: string;
}

/** A Database of better-sqlite3, or a DatabaseSync of node:sqlite. */
export interface Loader {
  loadExtension(path: string): unknown;
}

/** The path of the loadable extension. Throws if the package has none for this machine. */
export function getLoadablePath(): string;

/**
 * Loads the extension, for the whole process. Any connection will do, also one to `:memory:`. A
 * DatabaseSync of node:sqlite needs `allowExtension: true`.
 */
export function load(db: Loader): void;

/**
 * The file name of a replica, for node:sqlite and for ATTACH in its connections. Everything in it
 * is percent-encoded, so that it can be put in quotes in SQL. Throws a TypeError for an unknown
 * option.
 */
export function uri(url: string, options?: Options): string;

/** The variables that make a replica the one of better-sqlite3 in this process. */
export function environment(url: string, options?: Options): Record<string, string>;

/**
 * Opens a replica with better-sqlite3, whose class Database is the first argument. At any time,
 * all that are open in a process are of one replica, with the same options. The rest is passed on
 * to the constructor.
 */
export function open<D, O extends object>(
  Database: new (filename: string, options?: O) => D,
  url: string,
  options?: Options,
  databaseOptions?: O,
): D;
