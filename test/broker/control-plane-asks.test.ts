import { describe, it, expect } from '@jest/globals';
import type { SubscribePacket } from '../../lib/core/contract.js';
import { plane } from './support/plane.js';

describe('subscribing', () => {
  const packet = (filters: string[], given: Partial<SubscribePacket> = {}): SubscribePacket => ({
    packetIdentifier: 7,
    userProperties: [],
    ...given,
    subscriptions: filters.map((filter) => ({
      topicFilter: filter,
      filter: filter.replace(/^\$share\/g\//, ''),
      qos: 2,
      noLocal: false,
      shareName: filter.startsWith('$share') ? 'g' : undefined,
      retainAsPublished: false,
      retainHandling: 0,
    })),
  });

  it('grants, lowers and refuses each filter by itself', async () => {
    const { connect, core, calls } = plane({
      mqtt: {
        maximumQos: 1,
        wildcardSubscriptionAvailable: false,
        sharedSubscriptionAvailable: false,
      },
      authorization: [{ canSubscribe: async (_who, filter) => filter !== 'secret' }],
    });
    const handle = connect();
    calls();
    core.events.subscribe(handle, packet(['a', 'secret', 'a/#', '$share/g/a']));
    expect(calls()).toEqual([]);
    await new Promise(setImmediate);
    expect(calls()).toEqual([`suback ${handle} 01 87 a2 9e`]);
  });

  it('tells each version of a refusal in the way it knows', () => {
    const { connect, core, calls } = plane({ authorization: [{ canSubscribe: () => false }] });
    for (const protocolVersion of [3, 4, 5] as const) {
      const handle = connect({ protocolVersion, clientIdentifier: `v${protocolVersion}` });
      calls();
      core.events.subscribe(handle, packet(['a']));
      expect(calls()).toEqual([
        `suback ${handle} ${{ 3: '02', 4: '80', 5: '87' }[protocolVersion]}`,
      ]);
    }
  });

  it('subscribes nobody for a client that has gone while its authorizer thought', async () => {
    const { connect, core, calls } = plane({ authorization: [{ canSubscribe: async () => true }] });
    const handle = connect();
    core.events.subscribe(handle, packet(['a']));
    core.events.closed(handle);
    calls();
    await new Promise(setImmediate);
    expect(calls()).toEqual([]);
  });

  it('withdraws subscriptions that lost their right', () => {
    let allowed = true;
    let changed!: () => void;
    const { connect, core, calls, clock } = plane({
      authorization: [
        {
          canSubscribe: () => allowed,
          onChange: (invalidate) => {
            changed = invalidate;
          },
        },
      ],
    });
    const handle = connect();
    core.events.subscribe(handle, packet(['a', '$share/g/b']));
    calls();
    allowed = false;
    changed();
    clock.advance(10);
    expect(calls()).toContain('invalidate');
    expect([...core.sessions.values()][0].subscriptions.size).toBe(0);
  });

  it('says whether an unsubscribed filter existed', () => {
    const { connect, core, calls } = plane();
    const handle = connect();
    core.events.subscribe(handle, packet(['a', '$share/g/b']));
    calls();
    core.events.unsubscribe(handle, {
      packetIdentifier: 8,
      topicFilters: ['b', '$share/g/b', 'a'],
      userProperties: [],
    });
    expect(calls()).toEqual([`unsuback ${handle} 11 00 00`]);
  });
});

describe('enhanced authentication', () => {
  const twoSteps = {
    method: 'TWO',
    begin: () => {
      let step = 0;
      return {
        step: async (data: Uint8Array | undefined) => {
          if ((step += 1) === 1)
            return { kind: 'continue', data: Buffer.from(`not ${data}`) } as const;
          return String(data) === 'key'
            ? ({ kind: 'success', ok: true, username: 'ana' } as const)
            : ({ kind: 'failure' } as const);
        },
      };
    },
  };
  const auth = (reasonCode: number, data: string, method = 'TWO') => ({
    reasonCode,
    authenticationMethod: method,
    authenticationData: Buffer.from(data),
    userProperties: [],
  });
  const options = { enhancedAuthentication: [twoSteps] };
  const packet = { authenticationMethod: 'TWO', authenticationData: Buffer.from('hi') };

  it('goes through AUTH packets to CONNACK, and through a re-authentication', async () => {
    const { connect, core, calls } = plane(options);
    const handle = connect(packet);
    await new Promise(setImmediate);
    expect(calls()).toEqual([`auth ${handle} 18 not hi`]);
    core.events.auth(handle, auth(0x18, 'key'));
    await new Promise(setImmediate);
    expect(calls()).toEqual([`accept ${handle} present=false`]);
    expect(core.accepted.get(handle)!.connack.authenticationMethod).toBe('TWO');
    core.events.auth(handle, auth(0x19, 'again'));
    await new Promise(setImmediate);
    core.events.auth(handle, auth(0x18, 'key'));
    await new Promise(setImmediate);
    expect(calls()).toEqual([
      `auth ${handle} 18 not again`,
      `publish ${handle} allow`,
      `auth ${handle} 00 `,
      `reauthenticated ${handle}`,
    ]);
  });

  it('refuses unknown methods, wrong answers and a changed method', async () => {
    const { connect, core, calls } = plane(options);
    const unknown = connect({ authenticationMethod: 'THREE' });
    const wrong = connect(packet);
    await new Promise(setImmediate);
    core.events.auth(wrong, auth(0x18, 'lock'));
    await new Promise(setImmediate);
    const changed = connect(packet);
    await new Promise(setImmediate);
    core.events.auth(changed, auth(0x18, 'key', 'THREE'));
    expect(calls().filter((call) => call.startsWith('refuse'))).toEqual([
      `refuse ${unknown} 8c`,
      `refuse ${wrong} 87`,
      `refuse ${changed} 82`,
    ]);
  });
});
