// The broker as plain JavaScript for processes that are going to be killed, without a whole build and its type check. The
// core must have been built (lib/core/wasm-binary.generated.ts).
import { join } from 'node:path';
import { transpile } from '../../scripts/transpile.mjs';

const ROOMS = ['lib/broker', 'lib/core', 'lib/engine', 'lib/listener', 'assembly/shared'];

/** Answers the path of the compiled broker.ts. */
export function compileBroker() {
  const directory = transpile(ROOMS, `broker-${process.pid}`);
  return { directory, broker: join(directory, 'lib', 'broker', 'broker.js') };
}
