/**
 * The broker of the interoperability tests: ours, or the one that INTEROP_TARGET names, for example
 * `INTEROP_TARGET=mosquitto` (started here) or `INTEROP_TARGET=127.0.0.1:1883`.
 */
import { startMosquitto } from '../conformance/brokers.js';
import { addressTarget, startTarget } from '../conformance/target.js';
import type { Target } from '../conformance/target.js';

export function interopTarget(): Target {
  const wanted = process.env['INTEROP_TARGET'];
  if (wanted === undefined) return startTarget();
  if (wanted === 'mosquitto') {
    const mosquitto = startMosquitto();
    if (!mosquitto) throw new Error('INTEROP_TARGET=mosquitto, but mosquitto is not installed');
    return mosquitto;
  }
  const [host = '', port = ''] = wanted.split(':');
  return addressTarget(wanted, { host, port: Number(port) });
}
