/** The real core and real sockets under a clock that the test moves: hours pass without waiting. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Stage, until, within } from './support/clients.js';
import { VirtualClock } from './support/virtual-clock.js';

let stage: Stage;
let clock: VirtualClock;
beforeEach(() => {
  stage = new Stage();
  clock = new VirtualClock();
});
afterEach(async () => {
  const stopping = stage.stop();
  clock.advance(60_000);
  await stopping;
});

const HOUR_MS = 3_600_000;
const kept = (seconds: number) => ({ properties: { sessionExpiryInterval: seconds } });

describe('time', () => {
  it('ends sessions and lets delayed wills go', async () => {
    const broker = await stage.broker({}, { clock });
    const wills: string[] = [];
    await broker.subscribe('wills/#', ({ topicName }) => wills.push(topicName));
    const will = {
      topic: 'wills/late', payload: Buffer.from('x'), qos: 1 as const, retain: false,
      properties: { willDelayInterval: 1_800 },
    };
    const gone = stage.event('clientDisconnected');
    const client = await stage.client({ clientId: 'c', keepalive: 0, will, ...kept(3_600) });
    client.mqtt.stream.destroy();
    await gone;
    clock.advance(HOUR_MS / 2 - 1_000);
    expect(wills).toEqual([]);
    clock.advance(1_200);
    expect(wills).toEqual(['wills/late']);
    expect(broker.session('c')).toBeDefined();
    const ended = stage.event('sessionEnded');
    clock.advance(HOUR_MS / 2);
    expect(await ended).toEqual({ clientId: 'c', reason: 'expired' });
    expect(broker.session('c')).toBeUndefined();
  });

  it('shortens what is left of a message, and lets it expire', async () => {
    const broker = await stage.broker({}, { clock });
    const away = await stage.client({ clientId: 'away', keepalive: 0, ...kept(36_000) });
    await away.mqtt.subscribeAsync('t', { qos: 1 });
    await away.end();
    await until(() => broker.client('away') === undefined, 'its end');
    for (const [payload, messageExpiryInterval] of [['short', 60], ['long', 7_200]] as const) {
      await broker.publish('t', payload, { qos: 1, properties: { messageExpiryInterval } });
    }
    clock.advance(HOUR_MS);
    const back = await stage.client({ clientId: 'away', keepalive: 0, clean: false, ...kept(36_000) });
    const [message] = await back.next();
    expect(message.payload).toBe('long');
    expect(message.packet.properties).toMatchObject({ messageExpiryInterval: 3_600 });
    expect(broker.stats().dropped.expired).toBe(1);
  });

  it('closes a client whose Keep Alive has passed, and not one that speaks', async () => {
    const broker = await stage.broker({}, { clock });
    const silent = await stage.client({ clientId: 'silent', keepalive: 600, reschedulePings: false });
    const lively = await stage.client({ clientId: 'lively', keepalive: 600, reschedulePings: false });
    clock.advance(600_000);
    await lively.mqtt.publishAsync('t', 'x', { qos: 1 });
    clock.advance(301_000);
    await within(silent.whenClosed, 'the end');
    expect(silent.disconnects).toEqual([0x8d]);
    expect(broker.clients().map(({ clientId }) => clientId)).toEqual(['lively']);
  });

  it('ends what an authenticator granted for a while', async () => {
    await stage.broker({
      authentication: [{
        authenticate: () => ({ ok: true, username: 'u', expiresAt: clock.wall() + HOUR_MS }),
      }],
    }, { clock });
    const client = await stage.client({ clientId: 'c', keepalive: 0 });
    clock.advance(HOUR_MS - 1_000);
    expect(client.disconnects).toEqual([]);
    clock.advance(1_200);
    await within(client.whenClosed, 'the end');
    expect(client.disconnects).toEqual([0xa0]);
  });

  it('refreshes $SYS', async () => {
    await stage.broker({ sys: { intervalSeconds: 10 } }, { clock });
    const client = await stage.client({ clientId: 'c', keepalive: 0 });
    await client.mqtt.subscribeAsync('$SYS/broker/uptime', { qos: 0 });
    expect((await client.next())[0].payload).toBe('0 seconds');
    clock.advance(10_000);
    expect((await client.next())[0].payload).toBe('10 seconds');
  });
});
