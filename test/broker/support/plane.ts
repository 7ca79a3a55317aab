import { BrokerEmitter } from '../../../lib/broker/broker-emitter.js';
import { BrokerLog } from '../../../lib/broker/broker-log.js';
import type { BrokerOptions } from '../../../lib/broker/broker-options.js';
import { ControlPlane } from '../../../lib/broker/control-plane.js';
import { resolveOptions } from '../../../lib/broker/options.js';
import type { Door } from '../../../lib/broker/records.js';
import type { ConnectionHandle, ConnectPacket, WillMessage } from '../../../lib/core/contract.js';
import { RecordingCore, connectPacket, silentTransport } from './recording-core.js';
import { VirtualClock } from './virtual-clock.js';

/** A control plane over a core that writes down what is asked of it, and a clock of its own. */
export function plane(given: BrokerOptions = {}) {
  const clock = new VirtualClock();
  const events = new BrokerEmitter((_name, error) => {
    throw error;
  });
  const told: string[] = [];
  events.on('clientDisconnected', ({ clientId, by, reasonCode }) =>
    told.push(`${clientId} left by ${by} ${reasonCode}`),
  );
  events.on('sessionEnded', ({ clientId, reason }) => told.push(`${clientId} ended ${reason}`));
  let core!: RecordingCore;
  const options = resolveOptions({ logger: false, ...given });
  const control = new ControlPlane({
    options,
    clock,
    log: new BrokerLog(false),
    events,
    hashSeed: 1n,
    broken: () => {},
    createCore: (_options, coreEvents) => (core = new RecordingCore(coreEvents)),
  });
  const open = (anonymous: Door['anonymous'] = 'allowed'): ConnectionHandle => {
    const { limits, mqtt } = options;
    control.connections.open(
      silentTransport(), { name: 'test', anonymous, mountPoint: '', limits, mqtt },
    );
    return [...control.connections.all()].at(-1)!.handle;
  };
  const connect = (
    packet: Partial<ConnectPacket> = {},
    anonymous?: Door['anonymous'],
  ): ConnectionHandle => {
    const handle = open(anonymous);
    core.events.connect(handle, connectPacket(packet));
    return handle;
  };
  /** What was asked of the core since the last time. */
  const calls = (): string[] => core.calls.splice(0);
  return { control, core, clock, events, told, open, connect, calls };
}

export const will = (given: Partial<WillMessage> = {}): WillMessage => ({
  topicName: 'will',
  payload: Buffer.from('gone'),
  qos: 0,
  retain: false,
  willDelayIntervalSeconds: 0,
  properties: {},
  ...given,
});
export const goodbye = (given = {}) => ({ reasonCode: 0, userProperties: [], ...given });
