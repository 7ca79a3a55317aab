/**
 * Reads certificates and keys again when the process gets a signal. Opt-in: a library does not take
 * signals by itself.
 */
import type { Listener } from './transport.js';

export interface ReloadOnSignalOptions {
  /** Default `SIGHUP`. */
  readonly signal?: NodeJS.Signals;
  readonly reloaded?: (listener: Listener) => void;
  readonly failed: (error: Error, listener: Listener) => void;
}

/** Answers the function that ends it. One bad listener does not keep the others from reloading. */
export function reloadOnSignal(
  listeners: Iterable<Listener>, options: ReloadOnSignalOptions,
): () => void {
  const signal = options.signal ?? 'SIGHUP';
  const reload = (): void => {
    for (const listener of listeners) {
      listener.reload().then(
        () => options.reloaded?.(listener),
        (error: unknown) => options.failed(error as Error, listener),
      );
    }
  };
  process.on(signal, reload);
  return () => { process.removeListener(signal, reload); };
}
