/** Errors of the engines. The message says what was wrong, where, and what to do; `code` never changes. */

export type EngineErrorCode =
  /** classic-level is not installed or has no binary for this platform. */
  | 'NIDO_ENGINE_UNAVAILABLE'
  /** Another process (or another broker of this one) has the directory open. */
  | 'NIDO_ENGINE_LOCKED'
  /** Written by a newer version of nidomq. */
  | 'NIDO_ENGINE_FORMAT_NEWER'
  /** The directory holds something else. */
  | 'NIDO_ENGINE_FOREIGN'
  /** What was acknowledged is missing or unreadable. */
  | 'NIDO_ENGINE_CORRUPT'
  /** The disk refuses: full, read-only, broken. */
  | 'NIDO_ENGINE_IO'
  /** Used before `open` or after `close`. */
  | 'NIDO_ENGINE_CLOSED'
  /** An option that does not exist or has a value that it cannot have. */
  | 'NIDO_ENGINE_OPTION'
  /** A snapshot or restore would overwrite something. */
  | 'NIDO_ENGINE_TARGET_NOT_EMPTY';

export class EngineError extends Error {
  override readonly name = 'EngineError';
  constructor(readonly code: EngineErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
  }
}

/** The words of whatever was thrown, its cause included: LevelDB says what matters in the cause. */
export function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}
