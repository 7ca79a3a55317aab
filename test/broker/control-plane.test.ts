import { describe, it, expect } from '@jest/globals';
import { FIRED_PER_TURN_MAX } from '../../lib/broker/timer-wheel.js';
import { goodbye, plane, will } from './support/plane.js';

describe('connecting', () => {
  it('assigns an identifier to an MQTT 5 client without one', () => {
    const { connect, core, control } = plane();
    const handle = connect({ clientIdentifier: '' });
    const assigned = core.accepted.get(handle)!.connack.assignedClientIdentifier!;
    expect(assigned).toMatch(/^nido-/);
    expect(control.sessions.get({ clientId: assigned, mountPoint: '' })?.connection?.handle).toBe(handle);
  });

  it('holds each version to its own rule about identifiers', () => {
    const { connect, calls } = plane();
    connect({ protocolVersion: 4, clientIdentifier: '', cleanStart: false });
    connect({ protocolVersion: 4, clientIdentifier: '', cleanStart: true });
    connect({ protocolVersion: 3, clientIdentifier: '' });
    connect({ protocolVersion: 3, clientIdentifier: 'x'.repeat(24) });
    connect({ protocolVersion: 3, clientIdentifier: 'x'.repeat(23) });
    expect(calls().filter((call) => !call.startsWith('detach'))).toEqual([
      'refuse 1 85',
      'accept 2 present=false',
      'refuse 4 85',
      'refuse 5 85',
      'accept 6 present=false',
    ]);
  });

  it('tells in CONNACK what it grants instead of what was asked', () => {
    const { connect, core } = plane({
      mqtt: {
        maximumQos: 1,
        sessionExpirySecondsMax: 60,
        serverKeepAliveSeconds: 30,
        retainAvailable: false,
      },
    });
    const handle = connect({ sessionExpiryInterval: 3_600, keepAliveSeconds: 10 });
    expect(core.accepted.get(handle)).toMatchObject({
      keepAliveMs: 30_000,
      receiveMaximum: 1_024,
      connack: {
        sessionExpiryInterval: 60,
        serverKeepAlive: 30,
        maximumQos: 1,
        retainAvailable: false,
        maximumPacketSize: 1_048_576,
        topicAliasMaximum: 32,
      },
    });
    expect(core.accepted.get(handle)!.connack.wildcardSubscriptionAvailable).toBeUndefined();
  });

  it('closes who does not send CONNECT in time, and refuses who is not authenticated in time', () => {
    const { open, connect, calls, clock, core } = plane({
      authentication: [{ authenticate: () => new Promise(() => {}) }],
    });
    const silent = open();
    const waiting = connect();
    clock.advance(10_100);
    expect(calls()).toEqual([`destroy ${silent}`, `refuse ${waiting} 88`]);
    core.events.closed(silent);
    core.events.closed(waiting);
    clock.advance(60_000);
    expect(calls()).toEqual([]);
  });

  it('asks authenticators in order, and denies at the end and when one throws', async () => {
    const { connect, calls, control } = plane({
      authentication: [
        { authenticate: ({ username }) => (username === 'fast' ? { ok: true } : { ok: 'pass' }) },
        {
          authenticate: async ({ username }) => {
            if (username === 'crash') throw new Error('database');
            return username === 'slow' ? { ok: true, roles: ['r'] } : { ok: 'pass' };
          },
        },
      ],
    });
    for (const username of ['fast', 'slow', 'crash', 'other', undefined]) {
      connect({ clientIdentifier: `c-${username}`, username });
    }
    connect({ clientIdentifier: 'stranger' }, 'refused');
    await new Promise(setImmediate);
    expect(
      calls()
        .map((call) => call.replace(/ \d+/, ''))
        .sort(),
    ).toEqual([
      'accept present=false',
      'accept present=false',
      'accept present=false',
      'refuse 86',
      'refuse 87',
      'refuse 88',
    ]);
    expect(
      [...control.connections.all()]
        .filter(({ state }) => state === 'connected')
        .map(({ clientId }) => clientId),
    ).toEqual(['c-fast', 'c-slow', 'c-undefined']);
  });

  it('ignores what an authenticator answers for a connection that has gone', async () => {
    let answer!: (result: { ok: true }) => void;
    const { connect, core, calls } = plane({
      authentication: [
        {
          authenticate: () =>
            new Promise((resolve) => {
              answer = resolve;
            }),
        },
      ],
    });
    core.events.closed(connect());
    answer({ ok: true });
    await new Promise(setImmediate);
    expect(calls()).toEqual([]);
  });

  it('does not hand a session to another user', () => {
    const { connect, calls } = plane({ authentication: [{ authenticate: () => ({ ok: true }) }] });
    connect({ username: 'ana', sessionExpiryInterval: 100, cleanStart: false });
    calls();
    const thief = connect({ username: 'bea', cleanStart: false });
    expect(calls()).toEqual([`refuse ${thief} 87`]);
  });
});

describe('the gate', () => {
  it('is told of everybody who comes and goes, once', () => {
    const seen: string[] = [];
    const answer = (what: string, refused: RegExp) => {
      seen.push(what);
      return refused.test(what)
        ? ({ kind: 'refuse', reasonCode: 0x8a, reason: 'banned' } as const)
        : ({ kind: 'admit' } as const);
    };
    const { open, connect, core, calls } = plane({
      gate: {
        opened: (address) => answer(`opened ${address}`, /never/),
        closed: (address) => seen.push(`closed ${address}`),
        enter: ({ clientId }) => answer(`enter ${clientId}`, /banned/),
        left: ({ clientId }) => seen.push(`left ${clientId}`),
      },
    });
    core.events.closed(open());
    core.events.closed(connect({ clientIdentifier: 'good' }));
    const banned = connect({ clientIdentifier: 'banned' });
    core.events.closed(banned);
    expect(calls()).toContain(`refuse ${banned} 8a`);
    const pair = ['opened 127.0.0.1', 'closed 127.0.0.1'];
    expect(seen).toEqual([
      ...pair,
      pair[0],
      'enter good',
      'left good',
      pair[1],
      pair[0],
      'enter banned',
      pair[1],
    ]);
  });
});

describe('a session', () => {
  it('is taken over with 0x8E and resumed', () => {
    const { connect, calls, told } = plane();
    const first = connect({ sessionExpiryInterval: 100 });
    calls();
    const second = connect({ sessionExpiryInterval: 100, cleanStart: false });
    expect(calls()).toEqual([
      `disconnect ${first} 8e`,
      'detach 2',
      `accept ${second} present=true`,
    ]);
    expect(told).toEqual(['sensor left by broker 142']);
  });

  it('is not resumed when it ended with the connection that is taken over', () => {
    const { connect, calls } = plane();
    const first = connect({ protocolVersion: 4, cleanStart: true });
    calls();
    const second = connect({ protocolVersion: 4, cleanStart: false });
    expect(calls()).toEqual([
      `disconnect ${first} 8e`,
      'detach 2',
      'end 2',
      `accept ${second} present=false`,
    ]);
  });

  it('ends when its expiry has passed, and not before', () => {
    const { connect, core, clock, told } = plane();
    core.events.closed(connect({ sessionExpiryInterval: 60 }));
    clock.advance(59_900);
    expect(told.at(-1)).toContain('left by network');
    clock.advance(300);
    expect(told.at(-1)).toBe('sensor ended expired');
  });

  it('ends in its turn when very many expire at once: in order, each behind its will', () => {
    const { connect, core, clock, calls } = plane();
    const names = Array.from({ length: 2 * FIRED_PER_TURN_MAX + 5 }, (_, n) => `c-${n}`);
    const handles = names.map((name) => connect({
      clientIdentifier: name, sessionExpiryInterval: 60,
      will: will({ topicName: `wills/${name}`, willDelayIntervalSeconds: 3_600 }),
    }));
    for (const handle of handles) core.events.closed(handle);
    clock.advance(55_000);
    calls();
    const pieces: string[][] = [];
    const schedule = clock.schedule.bind(clock);
    clock.schedule = (task, ms) => schedule(() => {
      task();
      pieces.push(calls().filter((call) => /^(publish|end)/.test(call)));
    }, ms);
    clock.advance(10_000);
    const ended = pieces.filter(({ length }) => length !== 0);
    expect(ended.map(({ length }) => length)).toEqual(
      [FIRED_PER_TURN_MAX * 2, FIRED_PER_TURN_MAX * 2, 10],
    );
    expect(ended.flat()).toEqual(names.flatMap((name) => [
      `publish wills/${name}`, expect.stringMatching(/^end/),
    ]));
  });

  it('takes a new expiry from DISCONNECT, but none that was 0', () => {
    const { connect, core, calls, told, clock } = plane();
    core.events.disconnect(
      connect({ sessionExpiryInterval: 60 }),
      goodbye({ sessionExpiryInterval: 5 }),
    );
    clock.advance(5_200);
    expect(told.at(-1)).toBe('sensor ended expired');
    calls();
    const second = connect();
    core.events.disconnect(second, goodbye({ sessionExpiryInterval: 5 }));
    expect(calls()).toContain(`disconnect ${second} 82`);
  });

  it('loses its client after one and a half times the Keep Alive', () => {
    const { connect, core, clock, calls } = plane();
    const handle = connect({ keepAliveSeconds: 10 });
    clock.advance(9_000);
    core.received.set(handle, clock.now());
    calls();
    clock.advance(14_900);
    expect(calls()).toEqual([]);
    clock.advance(300);
    expect(calls()).toContain(`disconnect ${handle} 8d`);
  });
});

describe('a will', () => {
  it('is published when the connection breaks, and not after DISCONNECT 0', () => {
    const { connect, core, calls } = plane();
    core.events.closed(connect({ will: will() }));
    expect(calls()).toContain('publish will');
    core.events.disconnect(connect({ will: will() }), goodbye());
    expect(calls()).not.toContain('publish will');
    core.events.disconnect(connect({ will: will() }), goodbye({ reasonCode: 4 }));
    expect(calls()).toContain('publish will');
  });

  it('waits for its delay, but not beyond the session', () => {
    const { connect, core, calls, clock } = plane();
    core.events.closed(
      connect({ sessionExpiryInterval: 60, will: will({ willDelayIntervalSeconds: 5 }) }),
    );
    clock.advance(4_900);
    expect(calls()).not.toContain('publish will');
    clock.advance(300);
    expect(calls()).toContain('publish will');
    core.events.closed(
      connect({ sessionExpiryInterval: 2, will: will({ willDelayIntervalSeconds: 50 }) }),
    );
    clock.advance(2_200);
    expect(calls().slice(-2)).toEqual(['publish will', expect.stringMatching(/^end/)]);
  });

  it('is not published when the client comes back in time', () => {
    const { connect, core, calls, clock } = plane();
    core.events.closed(
      connect({ sessionExpiryInterval: 60, will: will({ willDelayIntervalSeconds: 5 }) }),
    );
    connect({ sessionExpiryInterval: 60, cleanStart: false, keepAliveSeconds: 0 });
    clock.advance(20_000);
    expect(calls()).not.toContain('publish will');
  });

  it('is published at a takeover unless it has a delay and the session goes on', () => {
    const { connect, calls } = plane();
    const expiry = { sessionExpiryInterval: 60 };
    connect({ ...expiry, will: will() });
    connect({ ...expiry, cleanStart: false, will: will({ willDelayIntervalSeconds: 9 }) });
    expect(calls().filter((call) => call.startsWith('publish'))).toHaveLength(1);
    connect({ ...expiry, cleanStart: false, will: will({ willDelayIntervalSeconds: 9 }) });
    expect(calls().filter((call) => call.startsWith('publish'))).toHaveLength(0);
    connect({ ...expiry, cleanStart: true });
    expect(calls().filter((call) => call.startsWith('publish'))).toHaveLength(1);
  });

  it('needs the right to publish, at CONNECT and when it is due', () => {
    let allowed = false;
    const { connect, core, calls } = plane({ authorization: [{ canPublish: () => allowed }] });
    const refused = connect({ will: will() });
    expect(calls()).toEqual([`refuse ${refused} 87`]);
    allowed = true;
    const accepted = connect({ will: will() });
    allowed = false;
    core.events.closed(accepted);
    expect(calls()).not.toContain('publish will');
  });
});
