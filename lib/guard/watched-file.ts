/**
 * A file that is read again when it changes. What cannot be read or parsed at start refuses to
 * start; on reload it is logged and the old content stays in force: a broken file never opens the
 * door.
 */
import {
  closeSync, constants, fstatSync, openSync, readFileSync, stat, statSync,
} from 'node:fs';
import type { Stats } from 'node:fs';
import { types } from 'node:util';

import type { BrokerLogger } from '../broker/logger.js';
import { fileProblem, GuardError } from './errors.js';
import { guardLimitDefaults } from './guard-limits.js';
import { redactText } from './redact.js';

export interface WatchedFileOptions {
  readonly path: string;
  readonly fileCheckMs?: number;
  readonly logger?: BrokerLogger;
}

export class WatchedFile<T> {
  private value: T;
  private readonly listeners = new Set<(value: T) => void>();
  /** What the file looked like just before it was read; another look means that it has changed. */
  private seen = '';
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly options: WatchedFileOptions,
    private readonly parse: (text: string, path: string) => T,
  ) {
    this.value = this.read();
  }

  get current(): T {
    return this.value;
  }

  /**
   * Looks at the file from now on. Polling, because editors and Kubernetes replace files rather
   * than write them. A file that is missing for a moment is looked for again.
   */
  watch(): this {
    const interval = this.options.fileCheckMs ?? guardLimitDefaults.fileCheckMs;
    this.timer ??= setInterval(() => this.look(), interval).unref();
    return this;
  }

  /** Calls `listener` after every successful reload. */
  onReload(listener: (value: T) => void): void {
    this.listeners.add(listener);
  }

  /** Reads the file now. `false` means that it was refused and the old content stays. */
  reload(): boolean {
    try {
      this.value = this.read();
    } catch (error) {
      const message = redactText(types.isNativeError(error) ? error.message : String(error));
      this.options.logger?.error(`Reload refused, the old content stays in force: ${message}`);
      return false;
    }
    for (const listener of this.listeners) listener(this.value);
    this.options.logger?.info?.(`Reloaded ${this.options.path}`);
    return true;
  }

  close(): void {
    clearInterval(this.timer);
    this.timer = undefined;
    this.listeners.clear();
  }

  private look(): void {
    stat(this.options.path, (error, stats) => {
      if (this.timer === undefined || error || lookOf(stats) === this.seen) return;
      this.reload();
    });
  }

  private read(): T {
    const stats = statSync(this.options.path, { throwIfNoEntry: false });
    this.seen = stats ? lookOf(stats) : '';
    return this.parse(readGuardFile(this.options.path), this.options.path);
  }
}

function lookOf(stats: Stats): string {
  return `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeMs}`;
}

/** The text of a regular file within the size limit, or a GuardError that says why not. */
export function readGuardFile(path: string): string {
  let text: string;
  try {
    // Without O_NONBLOCK, opening a named pipe would stop the whole process.
    const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = fstatSync(descriptor);
      if (!stats.isFile()) {
        throw fileProblem('NIDO_GUARD_FILE', { path }, 'it is not a regular file');
      }
      if (stats.size > guardLimitDefaults.guardFileBytesMax) {
        const max = guardLimitDefaults.guardFileBytesMax;
        throw fileProblem('NIDO_GUARD_FILE', { path }, `it is larger than ${max} bytes`);
      }
      text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(descriptor));
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    if (error instanceof GuardError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    const reason = code === 'ERR_ENCODING_INVALID_ENCODED_DATA' ? 'it is not UTF-8' : message;
    throw fileProblem('NIDO_GUARD_FILE', { path }, `cannot be read: ${reason}`);
  }
  return text;
}

/** A warning when others than the owner and its group can read the file, else undefined. */
export function readableByOthers(path: string): string | undefined {
  const mode = statSync(path).mode & 0o777;
  if ((mode & 0o004) === 0) return undefined;
  const octal = `0${mode.toString(8)}`;
  return `${path} can be read by every user of this machine (mode ${octal}); chmod 640 it`;
}
