/** How many QoS 1 and 2 messages are under way at a time, and what happens when it is too many. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { connect } from '../../lib/client/index.js';
import { ClientKit } from '../conformance/client/client-kit.js';
import { serverProperty } from '../conformance/client/server-packets.js';
import { puback } from '../conformance/wire/packets.js';
import type { Version } from '../conformance/wire/packets.js';
import { Stage, hasMosquitto, until } from './support/servers.js';

const LIMIT_MS = 120_000;
const MESSAGES = 100;

type Case = readonly [
  name: string, version: Version, inflightMax: number | undefined,
  receiveMaximum: number | undefined, expected: number,
];
const CASES: readonly Case[] = [
  ['MQTT 3.1.1, where a server cannot say: 20', 4, undefined, undefined, 20],
  ['MQTT 3.1.1 with inflightMax', 4, 3, undefined, 3],
  ['MQTT 5: the Receive Maximum of the server', 5, undefined, 7, 7],
  ['MQTT 5 with an inflightMax below the Receive Maximum', 5, 5, 7, 5],
  ['MQTT 5 with an inflightMax above the Receive Maximum', 5, 30, 7, 7],
  ['MQTT 5, where the server says nothing: all of them', 5, undefined, undefined, MESSAGES],
];

describe('messages under way', () => {
  for (const [name, version, inflightMax, receiveMaximum, expected] of CASES) {
    it(name, async () => {
      const kit = new ClientKit(version);
      await kit.listen();
      try {
        const { client, peer } = await kit.pair({ inflightMax }, {
          properties: receiveMaximum === undefined
            ? [] : [serverProperty.receiveMaximum(receiveMaximum)],
        });
        for (let number = 0; number < MESSAGES; number += 1) {
          client.publish('a', `${number}`, { qos: 1 }).catch(() => undefined);
        }
        const open: number[] = [];
        for (let at = 0; at < expected; at += 1) {
          open.push((await kit.expect(peer, 'PUBLISH')).packetId);
        }
        await peer.expectNothing();
        for (let at = expected; at < MESSAGES; at += 1) {
          peer.send(puback(open.shift()!));
          open.push((await kit.expect(peer, 'PUBLISH')).packetId);
        }
        await peer.expectNothing();
      } finally {
        await kit.close();
      }
    }, LIMIT_MS);
  }
});

describe('mosquitto, which drops what is too much and acknowledges it (MQTT 3.1.1)', () => {
  let stage: Stage;
  beforeEach(() => { stage = new Stage(); });
  afterEach(() => stage.stop());

  (hasMosquitto ? it : it.skip)('gets no more than it can take, and everything arrives '
    + '(skipped where it is not installed)', async () => {
    const { url } = await stage.mosquitto();
    const client = connect(url, { protocolVersion: 4, logger: false });
    stage.onStop(() => client.end({ deadlineMs: 0 }));
    const got: string[] = [];
    await client.subscribe('burst/+', ({ topicName, payload }) => {
      got.push(`${topicName} ${payload.toString()}`);
    }, { qos: 2 });
    const sent: Promise<unknown>[] = [];
    const wanted: string[] = [];
    for (let number = 0; number < 300; number += 1) {
      for (const qos of [2, 1] as const) {
        sent.push(client.publish(`burst/${qos}`, `${number}`, { qos }));
        wanted.push(`burst/${qos} ${number}`);
      }
    }
    await Promise.all(sent);
    await until(() => got.length >= wanted.length, `${wanted.length} messages`, LIMIT_MS / 2);
    expect(got.sort()).toEqual(wanted.sort());
  }, LIMIT_MS);
});
