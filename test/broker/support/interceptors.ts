/** A broker with interceptors, and what their tests say and see. */
import { Broker } from '../../../lib/index.js';
import type {
  BrokerOptions, InterceptedMessage, Interception, MessageDroppedEvent, MessageInterceptor,
} from '../../../lib/index.js';
import { Kit } from '../../conformance/kit.js';
import type { Peer } from '../../conformance/kit.js';
import type { Version } from '../../conformance/wire/packets.js';

const QUIET = { error: () => undefined, warn: () => undefined };
export const PASS: Interception = { kind: 'pass' };

const brokers: Broker[] = [];
const kits: Kit[] = [];

/** For the end of a test. */
export async function endAll(): Promise<void> {
  for (const kit of kits.splice(0)) kit.close();
  for (const broker of brokers.splice(0)) await broker.close({ deadlineMs: 200 });
}

export type Intercept = MessageInterceptor['intercept'];

export async function start(
  interceptors: MessageInterceptor | readonly MessageInterceptor[], options: BrokerOptions = {},
): Promise<Broker> {
  const broker = new Broker({
    listeners: [{ host: '127.0.0.1', port: 0 }], logger: QUIET, ...options,
    interceptors: [interceptors].flat(),
  });
  brokers.push(broker);
  await broker.listen();
  return broker;
}
export const on = (filter: string | readonly string[], intercept: Intercept): MessageInterceptor => ({
  topicFilters: [filter].flat(), intercept,
});
export function kitOf(broker: Broker, version: Version = 5, door = 0): Kit {
  const { port } = broker.listeners[door];
  const kit = new Kit({ host: '127.0.0.1', port: port as number }, version);
  kits.push(kit);
  return kit;
}
/** An answer that is given when the test wants it. */
export class Later {
  readonly asked: { message: InterceptedMessage; answer: (answer: Interception) => void }[] = [];
  readonly intercept: Intercept = (message) =>
    new Promise((resolve) => { this.asked.push({ message, answer: resolve }); });
  async next(): Promise<(typeof this.asked)[number]> {
    await until(() => this.asked.length > 0);
    return this.asked.shift()!;
  }
}
export async function until(condition: () => boolean, ms = 10_000): Promise<void> {
  const deadline = Date.now() + ms;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('the condition did not come true');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
export const texts = (list: readonly InterceptedMessage[]): string[] =>
  list.map(({ topicName, payload }) => `${topicName} ${Buffer.from(payload).toString()}`);
export function droppedOf(broker: Broker): MessageDroppedEvent[] {
  const events: MessageDroppedEvent[] = [];
  broker.on('messageDropped', (event) => events.push(event));
  return events;
}
export async function receiver(kit: Kit, filter = '#', qos = 2): Promise<Peer> {
  const peer = await kit.connect();
  await kit.subscribed(peer, filter, qos);
  return peer;
}
