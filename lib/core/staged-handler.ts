/**
 * What a handler function may have besides, for doors that do more than call a function: one
 * promise serves their work and ours.
 */
export interface StagedHandler<Message> {
  (message: Message): unknown;
  /** `text`: of a message that has to wait for its turn the text is kept instead of the bytes. */
  readonly reads?: 'text' | 'bytes';
  /** What the handler returned or its promise became; a promise that it answers is waited for. */
  answered?(value: unknown, message: Message): unknown;
  /** It threw or rejected: answers a promise of how that ends. Left out, the message has failed. */
  failed?(error: unknown, message: Message): Promise<unknown>;
}

/**
 * The promise that a handler or a stage answered; undefined when there is nothing to wait for.
 * Throws what a getter of `then` throws; what `then` itself throws is the promise's rejection.
 */
export function workOf(result: unknown): Promise<unknown> | undefined {
  if (typeof result !== 'object' || result === null) return undefined;
  if (result instanceof Promise) return result;
  const { then } = result as { then?: unknown };
  return typeof then === 'function' ? Promise.resolve(result) : undefined;
}
