/** Errors of the core's host side. `code` is stable. */
export class CoreError extends Error {
  override readonly name = 'CoreError';
  constructor(readonly code: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
  }
}
