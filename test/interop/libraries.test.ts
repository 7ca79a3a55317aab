/** Real client libraries against the broker, as black boxes: MQTT.js and paho-mqtt (Python). */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Endpoint } from '../conformance/wire/peer.js';
import { VERSION_NAME } from '../conformance/kit.js';
import type { Version } from '../conformance/wire/packets.js';
import type { ConnectSettings, InteropClient, Library } from './client.js';
import { interopTarget } from './interop-target.js';
import { MqttJsLibrary } from './mqttjs.js';
import { pahoMissing, PahoLibrary } from './paho.js';

const target = interopTarget();
let endpoint: Endpoint;
beforeAll(async () => {
  const started = await target.endpoint('default');
  if (!started) throw new Error('no broker');
  endpoint = started;
});
afterAll(() => target.close());

/** One scenario: a fresh topic, and clients with names of their own. */
class Scene {
  readonly topic = `interop/${randomBytes(5).toString('hex')}`;
  private readonly clients: InteropClient[] = [];
  constructor(private readonly library: Library, readonly version: Version) {}

  async client(more: Partial<ConnectSettings> = {}): Promise<InteropClient> {
    const clientId = `i${randomBytes(6).toString('hex')}`;
    const client =
      await this.library.connect({ endpoint, version: this.version, clientId, ...more });
    this.clients.push(client);
    return client;
  }
}

type Scenario = readonly [name: string, versions: readonly Version[], (s: Scene) => Promise<void>];
const ALL = [3, 4, 5] as const;
const BIG_BYTES = 200_000;

const SCENARIOS: readonly Scenario[] = [
  ['publishes and receives at QoS 0, 1 and 2', ALL, async (s) => {
    const [subscriber, publisher] = [await s.client(), await s.client()];
    for (const qos of [0, 1, 2] as const) {
      await subscriber.subscribe(`${s.topic}/${qos}/+`, qos);
      await publisher.publish(`${s.topic}/${qos}/ñ`, `payload ${qos}`, { qos });
      const message = await subscriber.inbox.next();
      expect(message).toMatchObject({ topic: `${s.topic}/${qos}/ñ`, qos, retain: false });
      expect(message.payload.toString()).toBe(`payload ${qos}`);
    }
    await subscriber.inbox.expectNothing();
  }],
  ['carries binary and large payloads', ALL, async (s) => {
    const [subscriber, publisher] = [await s.client(), await s.client()];
    await subscriber.subscribe(s.topic, 2);
    const payload = randomBytes(BIG_BYTES);
    for (const qos of [0, 1, 2] as const) {
      await publisher.publish(s.topic, payload, { qos });
      expect((await subscriber.inbox.next()).payload.equals(payload)).toBe(true);
    }
  }],
  ['keeps the order of a burst at QoS 1 and 2', ALL, async (s) => {
    const [subscriber, publisher] = [await s.client(), await s.client()];
    await subscriber.subscribe(s.topic, 2);
    for (const qos of [1, 2] as const) {
      // Libraries differ in how many they let out at once; the order must hold for each.
      for (let at = 0; at < 50; at++) await publisher.publish(s.topic, `${at}`, { qos });
      for (let at = 0; at < 50; at++) {
        expect((await subscriber.inbox.next()).payload.toString()).toBe(`${at}`);
      }
    }
  }],
  ['sends retained messages to late subscribers, and clears them', ALL, async (s) => {
    const publisher = await s.client();
    await publisher.publish(s.topic, 'kept', { qos: 1, retain: true });
    const late = await s.client();
    await late.subscribe(s.topic, 1);
    expect(await late.inbox.next()).toMatchObject({ topic: s.topic, retain: true, qos: 1 });
    await publisher.publish(s.topic, '', { qos: 1, retain: true });
    const later = await s.client();
    await later.subscribe(s.topic, 1);
    await later.inbox.expectNothing();
  }],
  ['publishes a will when the client vanishes, not when it says goodbye', ALL, async (s) => {
    const witness = await s.client();
    await witness.subscribe(`${s.topic}/#`, 1);
    const will = (name: string) =>
      ({ topic: `${s.topic}/${name}`, payload: 'gone', qos: 1 as const, retain: false });
    await (await s.client({ will: will('polite') })).end();
    await (await s.client({ will: will('lost') })).cut();
    expect(await witness.inbox.next()).toMatchObject({ topic: `${s.topic}/lost` });
    await witness.inbox.expectNothing();
  }],
  ['resumes a session with the messages that were missed', ALL, async (s) => {
    const settings = { clientId: `i${randomBytes(6).toString('hex')}`, persistent: true };
    const first = await s.client(settings);
    expect(first.sessionPresent).toBe(false);
    await first.subscribe(s.topic, 2);
    await first.end();
    const publisher = await s.client();
    for (const qos of [1, 2] as const) await publisher.publish(s.topic, `${qos}`, { qos });
    const second = await s.client(settings);
    // MQTT 3.1 has no Session Present.
    if (s.version > 3) expect(second.sessionPresent).toBe(true);
    for (const qos of [1, 2]) {
      const message = await second.inbox.next();
      expect([message.payload.toString(), message.qos]).toEqual([`${qos}`, qos]);
    }
  }],
  ['stops after unsubscribe', ALL, async (s) => {
    const client = await s.client();
    await client.subscribe(s.topic, 1);
    await client.publish(s.topic, 'x', { qos: 1 });
    await client.inbox.next();
    await client.unsubscribe(s.topic);
    await client.publish(s.topic, 'y', { qos: 1 });
    await client.inbox.expectNothing();
  }],
  ['shares a subscription: each message to one member', ALL, async (s) => {
    const members = [await s.client(), await s.client()];
    const publisher = await s.client();
    const group = s.topic.split('/')[1] ?? '';
    for (const member of members) await member.subscribe(`$share/${group}/${s.topic}`, 1);
    for (let at = 0; at < 10; at++) await publisher.publish(s.topic, `${at}`, { qos: 1 });
    const got: string[] = [];
    for (const member of members) {
      for (;;) {
        const message = await member.inbox.next(300).catch(() => undefined);
        if (!message) break;
        got.push(message.payload.toString());
      }
    }
    expect(got.map(Number).sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  }],
  ['carries MQTT 5 properties there and back', [5], async (s) => {
    const [subscriber, publisher] = [await s.client(), await s.client()];
    await subscriber.subscribe(s.topic, 1, 77);
    const properties = {
      payloadFormat: 1, contentType: 'text/plain', responseTopic: 'reply/here',
      correlationData: '00ff10', user: [['a', '1'], ['a', '2'], ['b', 'ñ']] as const,
    };
    await publisher.publish(s.topic, 'x', { qos: 1, properties });
    const message = await subscriber.inbox.next();
    expect(message.properties).toEqual({ ...properties, subscriptionIdentifier: 77 });
  }],
  ['serves request and response', [5], async (s) => {
    const [server, requester] = [await s.client(), await s.client()];
    await server.subscribe(`${s.topic}/add`, 1);
    await requester.subscribe(`${s.topic}/reply`, 1);
    const properties = { responseTopic: `${s.topic}/reply`, correlationData: '2a' };
    await requester.publish(`${s.topic}/add`, '20,22', { qos: 1, properties });
    const request = await server.inbox.next();
    const { responseTopic = '', correlationData = '' } = request.properties;
    const sum = request.payload.toString().split(',').reduce((all, one) => all + Number(one), 0);
    await server.publish(responseTopic, `${sum}`, { qos: 1, properties: { correlationData } });
    const reply = await requester.inbox.next();
    expect([reply.payload.toString(), reply.properties.correlationData]).toEqual(['42', '2a']);
  }],
];

function suite(name: string, make: () => Library): void {
  for (const version of ALL) {
    describe(`${name} in MQTT ${VERSION_NAME[version]}`, () => {
      let library: Library;
      beforeAll(() => {
        library = make();
      });
      afterAll(() => library.close());
      for (const [title, versions, run] of SCENARIOS) {
        if (versions.includes(version)) it(title, () => run(new Scene(library, version)));
      }
    });
  }
}

suite('MQTT.js', () => new MqttJsLibrary());

const missing = pahoMissing();
if (missing === undefined) suite('paho-mqtt', () => new PahoLibrary());
else it.skip(`paho-mqtt: ${missing}`, () => undefined);
