/**
 * Errors of the engines. The message says what was wrong, where, and what to do; `code` never
 * changes.
 */

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

/** Errors of native code may come from another realm (jest), so they are told by their shape. */
interface ErrorShape {
  readonly message: string;
  readonly code?: unknown;
  readonly cause?: unknown;
}
function shapeOf(error: unknown): ErrorShape | undefined {
  const isShaped = typeof error === 'object' && error !== null
    && typeof (error as ErrorShape).message === 'string';
  return isShaped ? error as ErrorShape : undefined;
}

/**
 * The words of whatever was thrown, its cause's where there is one: LevelDB says there what
 * matters.
 */
export function wordsOf(error: unknown): string {
  const shape = shapeOf(error);
  if (shape === undefined) return String(error);
  return shapeOf(shape.cause)?.message ?? shape.message;
}
/** The innermost code of an error and its causes. */
export function codeOf(error: unknown): string {
  let code = '';
  for (let at = shapeOf(error); at !== undefined; at = shapeOf(at.cause)) {
    if (typeof at.code === 'string') code = at.code;
  }
  return code;
}
