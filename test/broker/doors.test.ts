/** Doors that anybody could use: which of them must be told so. */
import { describe, expect, it } from '@jest/globals';
import { Broker, createGuard, hashPassword } from '../../lib/index.js';
import type { BrokerOptions, ListenerSettings } from '../../lib/index.js';
import { startVictim } from '../abuse/abuse-kit.js';
import { Kit } from '../conformance/kit.js';
import { property } from '../conformance/wire/packets.js';

const make = (listener: ListenerSettings, more: BrokerOptions = {}): Broker =>
  new Broker({ listeners: [{ port: 0, ...listener }], logger: false, ...more });
const proxyProtocol = { trusted: ['127.0.0.1'] };

describe('a listener without authentication', () => {
  it.each<[string, ListenerSettings]>([
    ['all addresses', { host: '0.0.0.0' }],
    ['a name of the network', { host: 'broker.casa' }],
    ['loopback behind a proxy, whose clients are anywhere', { host: '127.0.0.1', proxyProtocol }],
    ['loopback of IPv6 behind a proxy', { host: '::1', proxyProtocol }],
  ])('is refused on %s', (_, listener) => {
    expect(() => make(listener)).toThrow(expect.objectContaining({ code: 'NIDO_LISTENER_OPEN' }));
    expect(() => make({ ...listener, allowAnonymous: true })).not.toThrow();
    expect(() => make(listener, { authentication: [{ authenticate: () => ({ ok: 'pass' }) }] })).not.toThrow();
  });

  it.each<[string, ListenerSettings]>([
    ['127.0.0.1', { host: '127.0.0.1' }], ['another address of loopback', { host: '127.8.8.8' }],
    ['localhost', { host: 'localhost' }], ['::1', { host: '::1' }],
  ])('is open on %s', (_, listener) => {
    expect(() => make(listener)).not.toThrow();
  });
});

describe('a door that lets anonymous clients in beside SCRAM', () => {
  it('believes no User Name that was not proved', async () => {
    const password = await hashPassword(Buffer.from('secret'), { format: 'scram-sha-256', iterations: 4096 });
    const guard = createGuard({
      authentication: [{ kind: 'scram', users: [{ username: 'anna', password }] }],
      authorization: { rules: [
        { effect: 'allow', topics: ['secret/#'], users: ['anna'] },
        { effect: 'allow', topics: ['good/pair'] },
      ] },
    });
    const victim = await startVictim({ ...guard.brokerOptions, allowAnonymous: true });
    try {
      const { kit } = victim;
      for (const fields of [{ username: 'anna' }, { username: 'anna', password: 'secret' }, { username: 'bruno' }]) {
        await kit.expectRefused(await kit.connecting(fields), [0x86]);
      }
      const nobody = await kit.connect();
      expect((await kit.subscribe(nobody, 'secret/#')).reasonCodes[0]).toBe(0x87);
      await victim.pairLives();
    } finally {
      await victim.stop();
      guard.close();
    }
  });
});

describe('listeners with authentication of their own', () => {
  it('let in whom their authenticators know, and nobody else', async () => {
    const hash = (text: string) => hashPassword(Buffer.from(text), { format: 'pbkdf2-sha512', iterations: 101 });
    const scram = await hashPassword(Buffer.from('s'), { format: 'scram-sha-256', iterations: 4096 });
    const guard = createGuard({ authentication: [
      { kind: 'users', users: [{ username: 'pair', password: await hash('p') }] },
      { kind: 'users', users: [{ username: 'inside', password: await hash('i') }], listeners: ['inner'] },
      { kind: 'users', users: [{ username: 'outside', password: await hash('o') }], listeners: ['outer', 'other'] },
      { kind: 'scram', users: [{ username: 'anna', password: scram }], listeners: ['inner'] },
    ] });
    const victim = await startVictim({
      ...guard.brokerOptions,
      listeners: [{ host: '127.0.0.1', port: 0, name: 'inner' }, { host: '127.0.0.1', port: 0, name: 'outer' }],
    }, { username: 'pair', password: 'p' });
    const outer = new Kit({ host: '127.0.0.1', port: victim.broker.listeners[1].port as number }, 5);
    const begin = [property.authenticationMethod('SCRAM-SHA-256'), property.authenticationData('n,,n=anna,r=abc')];
    try {
      await victim.kit.connect({ username: 'inside', password: 'i' });
      await outer.connect({ username: 'outside', password: 'o' });
      await outer.connect({ username: 'pair', password: 'p' });
      await victim.kit.expectRefused(await victim.kit.connecting({ username: 'outside', password: 'o' }), [0x86]);
      await outer.expectRefused(await outer.connecting({ username: 'inside', password: 'i' }), [0x86]);
      await (await victim.kit.connecting({ properties: begin })).expectPacket('AUTH', { reasonCode: 0x18 });
      await outer.expectRefused(await outer.connecting({ properties: begin }), [0x8c]);
      await victim.pairLives();
    } finally {
      outer.close();
      await victim.stop();
      guard.close();
    }
  });

  it.each([[[]], ['inner'], [[1]], [['']]])('refuse %j as their names', (listeners) => {
    const part = { kind: 'anonymous' as const, listeners: listeners as string[] };
    expect(() => createGuard({ authentication: [part] }))
      .toThrow(expect.objectContaining({ code: 'NIDO_AUTHENTICATION_LISTENERS' }));
  });
});
