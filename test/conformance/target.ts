/** The broker under test: ours in this process, or any other by its address. */
import type { Variant } from './case.js';
import type { TargetEndpoint } from './kit.js';

export interface Target {
  readonly name: string;
  /** Where the broker listens that is configured as `variant` says; undefined when there is none. */
  endpoint(variant: Variant): Promise<TargetEndpoint | undefined>;
  close(): Promise<void>;
}

/** Somebody else's broker: it is as it is, so only the cases for a default configuration run. */
export function addressTarget(name: string, endpoint: TargetEndpoint): Target {
  return {
    name,
    endpoint: (variant) => Promise.resolve(
      variant === 'default' || (variant === 'web-socket' && endpoint.webSocket)
        ? endpoint : undefined),
    close: () => Promise.resolve(),
  };
}
