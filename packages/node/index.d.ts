/** Options of a database; the table in the README of the project has their meaning and defaults. */
export interface Options {
  /** Durations are text such as `500ms` or `1m30s`. */
  poll_interval?: string;
  poll_idle_after?: string;
  /** Sizes are bytes, or text such as `64MiB`. */
  cache_size?: number | string;
  index_size?: number | string;
  read_ahead_size?: number | string;
  hedge_requests?: boolean;
  open_timeout?: string;
  read_timeout?: string;
  close_timeout?: string;
  wait_for_replica?: string;
  close_delay?: string;
  hydration_enabled?: boolean;
  hydration_mode?: 'all' | 'pages';
  hydration_path?: string;
  offline_after?: number | string;
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

/** A Database of better-sqlite3, or a DatabaseSync of node:sqlite. */
export interface Queryable {
  prepare(sql: string): { get(): unknown };
}

/** The path of the loadable extension. Throws if the package has none for this machine. */
export function getLoadablePath(): string;

/** The class Database of better-sqlite3, or DatabaseSync of node:sqlite. */
export type LoaderClass = new (filename: string, options?: any) => Loader;

/**
 * Loads the extension, for the whole process. A connection to `:memory:` will do, and a
 * DatabaseSync of node:sqlite needs `allowExtension: true`. Given a class, load makes such a
 * connection. The names of better-sqlite3 can be those of uri() then, if load comes before the
 * first use of better-sqlite3 in the process; it throws otherwise.
 */
export function load(db: Loader | LoaderClass): void;

/**
 * The file name of a replica, and for ATTACH, once the extension is loaded. Everything in it
 * is percent-encoded, so that it can be put in quotes in SQL. Throws a TypeError for an unknown
 * option.
 */
export function uri(url: string, options?: Options): string;

/**
 * The text of the last error of a connection's main database, undefined if there was none. SQLite
 * has only a code of most errors of a file: "disk I/O error" says nothing of storage that is down.
 */
export function lastError(db: Queryable): string | undefined;

/** The variables that make a replica the one of a program that takes no URIs as names. */
export function environment(url: string, options?: Options): Record<string, string>;

/**
 * Opens a replica with better-sqlite3, whose class Database is the first argument. The rest is
 * passed on to the constructor. If better-sqlite3 was used in the process before, without
 * `SQLITE_USE_URI=1` in the environment, all that are open at a time are of one replica, with the
 * same options.
 */
export function open<D, O extends object>(
  Database: new (filename: string, options?: O) => D,
  url: string,
  options?: Options,
  databaseOptions?: O,
): D;

/** Whether the main database of a connection is a replica, and not a local file. */
export function isReplica(db: Loader): boolean;

/** How far hydration has come. */
export interface HydrationProgress {
  enabled: boolean;
  status: 'idle' | 'restoring' | 'catching_up' | 'complete' | 'on_demand' | 'failed';
  /** Percent; 100 only if hydration is complete. */
  progress: number;
  pages: number;
  total_pages: number;
  verified_pages: number;
  unverifiable_pages: number;
  /** Bytes read from storage by hydration. */
  bytes: number;
  file: string;
  error: string;
}

/**
 * Resolves when the whole database is in a local file, and calls onProgress whenever the progress
 * has changed. Rejects if hydration fails, is not enabled or copies no more than queries fetch. It looks every `interval`
 * milliseconds, 100 if that is not given, and asks storage nothing.
 */
export function waitForHydration(
  db: Loader,
  onProgress?: (progress: HydrationProgress) => void,
  options?: { interval?: number },
): Promise<HydrationProgress>;
