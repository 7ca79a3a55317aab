/** Enhanced authentication: AUTH before CONNACK, and again on an open connection. */
import * as build from '../wire/packets.js';
import { property } from '../wire/packets.js';
import { valueOf } from '../wire/reader.js';
import type { EnhancedAuthentication } from '../../../lib/client/index.js';
import { expandClient } from './client-case.js';
import type { ClientRow } from './client-case.js';
import { insist, rejection, within } from './client-kit.js';
import type { ClientKit } from './client-kit.js';
import * as server from './server-packets.js';
import type { WirePeer } from '../wire/peer.js';

const METHOD = property.authenticationMethod('M');

function exchange(): EnhancedAuthentication {
  return {
    method: 'M',
    start: () => Buffer.from('start'),
    continue: (data) => Buffer.from(`re:${Buffer.from(data ?? []).toString()}`),
  };
}

const challenge = (data: string, reasonCode = 0x18): Buffer =>
  build.auth(reasonCode, [METHOD, property.authenticationData(data)]);

/** The exchange up to CONNACK. */
async function authenticated(t: ClientKit): Promise<{
  client: ReturnType<ClientKit['client']>; peer: WirePeer;
}> {
  const client = t.client({ enhancedAuthentication: exchange(), reconnectPeriod: 0 });
  const peer = await t.accept();
  await peer.expectPacket('CONNECT');
  peer.send(challenge('1'));
  await peer.expectPacket('AUTH');
  peer.send(server.connack(5, { properties: [METHOD] }));
  await within(client.connected(), 'the client to be connected');
  return { client, peer };
}

const rows: readonly ClientRow[] = [
  {
    name: 'CONNECT names the method; AUTH answers with 0x18, the method and nothing to explain',
    on: {
      5: ['4.12.0-3', '4.12.0-5', '3.15.1-1', '3.15.2-1', '3.15.2-2', '3.15.2-3', '3.1.2-30'],
    },
    run: async (t) => {
      const client = t.client({ enhancedAuthentication: exchange() });
      client.publish('early', '').catch(() => undefined);
      client.subscribe('early', () => undefined).catch(() => undefined);
      const peer = await t.accept();
      const sent = await peer.expectPacket('CONNECT');
      insist(valueOf(sent, 0x15) === 'M', 'Authentication Method');
      for (const step of ['1', '2']) {
        peer.send(challenge(step));
        const auth = await peer.expectPacket('AUTH', { reasonCode: 0x18 });
        insist(valueOf(auth, 0x15) === 'M', 'Authentication Method');
        insist(valueOf(auth, 0x16)?.toString() === `re:${step}`, 'Authentication Data');
        insist(auth.properties.length === 2, 'more than method and data');
      }
      await peer.expectNothing();
      peer.send(server.connack(5, { properties: [METHOD] }));
      await within(client.connected(), 'the client to be connected');
      await peer.awaitPacket('SUBSCRIBE');
    },
  },
  {
    name: 'without a method the client sends no AUTH, and hangs up on one',
    on: { 5: ['4.12.0-7'] },
    run: async (t) => {
      t.client({ reconnectPeriod: 0 });
      const peer = await t.accept();
      const sent = await peer.expectPacket('CONNECT');
      insist(valueOf(sent, 0x15) === undefined, 'Authentication Method');
      peer.send(challenge('1'));
      const rest = await peer.expectClosed();
      insist(rest.every((one) => one.name !== 'AUTH'), 'AUTH');
    },
  },
  {
    name: 'an AUTH with another method ends the connection',
    on: { 5: ['4.12.0-5'] },
    run: async (t) => {
      t.client({ enhancedAuthentication: exchange(), reconnectPeriod: 0 });
      const peer = await t.accept();
      await peer.expectPacket('CONNECT');
      peer.send(build.auth(0x18, [property.authenticationMethod('other')]));
      await t.expectClosed(peer);
    },
  },
  {
    name: 'a CONNACK with another method ends the connection',
    on: { 5: ['4.12.0-5'] },
    run: async (t) => {
      t.client({ enhancedAuthentication: exchange(), reconnectPeriod: 0 });
      const peer = await t.accept();
      await peer.expectPacket('CONNECT');
      peer.send(server.connack(5, { properties: [property.authenticationMethod('other')] }));
      await t.expectClosed(peer);
    },
  },
  {
    name: 're-authentication: AUTH 0x19 with the same method, then on',
    on: { 5: ['4.12.1-1', '4.12.0-5', '3.15.2-1'] },
    run: async (t) => {
      const { client, peer } = await authenticated(t);
      const again = client.reauthenticate();
      const first = await peer.expectPacket('AUTH', { reasonCode: 0x19 });
      insist(valueOf(first, 0x15) === 'M', 'Authentication Method');
      peer.send(challenge('3'));
      const second = await peer.expectPacket('AUTH', { reasonCode: 0x18 });
      insist(valueOf(second, 0x15) === 'M', 'Authentication Method');
      peer.send(build.auth(0, [METHOD]));
      await within(again, 'the re-authentication');
      await client.publish('after', '');
      await peer.expectPacket('PUBLISH', { topic: 'after' });
    },
  },
  {
    name: 'a re-authentication that the client gives up ends the connection',
    on: { 5: ['4.12.1-2'] },
    run: async (t) => {
      const client = t.client({ reconnectPeriod: 0, enhancedAuthentication: {
        ...exchange(), continue: () => { throw new Error('no'); },
      } });
      const peer = await t.accept();
      await peer.expectPacket('CONNECT');
      peer.send(server.connack(5, { properties: [METHOD] }));
      await within(client.connected(), 'the client to be connected');
      const again = rejection(client.reauthenticate(), 'reauthenticate');
      await peer.expectPacket('AUTH', { reasonCode: 0x19 });
      peer.send(challenge('3'));
      const [goodbye] = await peer.expectClosed();
      insist(goodbye?.name === 'DISCONNECT' && goodbye.reasonCode === 0x80, 'DISCONNECT 0x80');
      await again;
    },
  },
  {
    name: 'a re-authentication that the server refuses ends with its connection',
    on: { 5: ['4.12.1-2', '4.13.2-1'] },
    run: async (t) => {
      const { client, peer } = await authenticated(t);
      const again = rejection(client.reauthenticate(), 'reauthenticate');
      await peer.expectPacket('AUTH', { reasonCode: 0x19 });
      peer.send(build.disconnect(5, 0x87));
      await peer.expectClosed();
      await again;
    },
  },
  {
    name: 'an AUTH with a code that it does not have ends the connection',
    on: { 5: ['3.15.2-1'] },
    run: async (t) => {
      const { peer } = await authenticated(t);
      peer.send(build.auth(0x87, [METHOD]));
      await t.expectClosed(peer);
    },
  },
];

export const authenticationCases = expandClient('enhanced authentication', rows);
