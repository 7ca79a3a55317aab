/** An encoder that is not ours: what mqtt-packet writes, the codec reads, field for field. */
import { beforeAll, describe, expect, it } from '@jest/globals';
import mqttPacket from 'mqtt-packet';
import type { Packet } from 'mqtt-packet';
import type { Fields, Sender } from '../support/twin-parser.js';
import { CodecHost, compileCodec } from './codec-host.js';

let host: CodecHost;
beforeAll(() => {
  host = new CodecHost(compileCodec());
}, 120_000);

const hexOf = (text: string) => Buffer.from(text).toString('hex');

function read(packet: object, version: number, sender: Sender = 'client'): Fields {
  const bytes = mqttPacket.generate(packet as Packet, { protocolVersion: version });
  const frame = host.frame(bytes, version);
  if (typeof frame === 'string') throw new Error(`${frame}: ${bytes.toString('hex')}`);
  expect(frame.bodyAt + frame.remaining).toBe(bytes.length);
  const verdict = host.packet(frame.header, bytes.subarray(frame.bodyAt), version, sender);
  expect([bytes.toString('hex'), verdict.reason]).toEqual([bytes.toString('hex'), 0]);
  return verdict.fields ?? {};
}

const userProperties = { key: 'value', many: ['a', 'b'] };

describe('packets that mqtt-packet writes', () => {
  it.each([3, 4, 5])('CONNECT of protocol level %i', (version) => {
    const properties = version === 5 ? {
      sessionExpiryInterval: 1234, receiveMaximum: 432, maximumPacketSize: 100,
      topicAliasMaximum: 456, requestResponseInformation: true, requestProblemInformation: true,
      userProperties, authenticationMethod: 'test', authenticationData: Buffer.from([1, 2, 3, 4]),
    } : undefined;
    const willProperties = version === 5 ? {
      willDelayInterval: 1234, payloadFormatIndicator: false, messageExpiryInterval: 4321,
      contentType: 'test', responseTopic: 'topic', correlationData: Buffer.from([1, 2]),
      userProperties,
    } : undefined;
    const fields = read({
      cmd: 'connect', protocolId: version === 3 ? 'MQIsdp' : 'MQTT', protocolVersion: version,
      clean: true, clientId: 'client', keepalive: 30, username: 'matteo', properties,
      password: Buffer.from('collina'),
      will: { topic: 'mydeath', payload: Buffer.from('bye'), qos: 1, retain: true,
        properties: willProperties },
    }, version);
    expect(fields).toMatchObject({
      version, keepAlive: 30, clientIdentifier: hexOf('client'), userName: hexOf('matteo'),
      password: hexOf('collina'), willQos: 1, flags: 0xee,
      will: { topic: hexOf('mydeath'), payload: hexOf('bye') },
    });
    if (version < 5) return;
    expect(fields.properties).toEqual({
      values: [[17, 1234], [21, hexOf('test')], [22, '01020304'], [23, 1], [25, 1], [33, 432],
        [34, 456], [39, 100]],
      identifiers: [], userProperties: 3,
    });
    expect(fields.will).toMatchObject({ properties: { userProperties: 3, values: [[1, 0], [2, 4321],
      [3, hexOf('test')], [8, hexOf('topic')], [9, '0102'], [24, 1234]] } });
  });

  it.each([3, 4, 5])('PUBLISH at every QoS of protocol level %i', (version) => {
    const properties = version === 5 ? {
      payloadFormatIndicator: true, messageExpiryInterval: 4321, topicAlias: 100,
      contentType: 'test', responseTopic: 'topic', userProperties,
      correlationData: Buffer.from([1, 2, 3, 4]),
    } : undefined;
    for (const qos of [0, 1, 2]) {
      for (const payload of ['', 'x', 'y'.repeat(300)]) {
        const fields = read({ cmd: 'publish', topic: 'a/é', payload, qos, retain: true,
          dup: qos > 0, messageId: 42, properties }, version);
        expect(fields).toMatchObject({ topic: hexOf('a/é'), payload: hexOf(payload),
          packetIdentifier: qos === 0 ? 0 : 42, alias: version === 5 ? 100 : 0,
          expiry: version === 5 ? 4321 : -1 });
      }
    }
  });

  it.each([1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455])(
    'PUBLISH of a server with the Subscription Identifier %i', (identifier) => {
      const properties = { subscriptionIdentifier: identifier };
      const fields = read(
        { cmd: 'publish', topic: 't', payload: 'x', qos: 0, properties }, 5, 'server');
      expect(fields).toMatchObject({
        properties: { identifiers: [identifier] }, forwarded: '', payload: hexOf('x'),
      });
    },
  );

  it('PUBLISH of a server with several Subscription Identifiers', () => {
    const properties = { subscriptionIdentifier: [1, 128, 20_000] };
    expect(read({ cmd: 'publish', topic: 't', payload: 'x', qos: 0, properties }, 5, 'server'))
      .toMatchObject({ properties: { identifiers: [1, 128, 20_000] }, forwarded: '' });
  });

  it.each([3, 4, 5])('SUBSCRIBE and UNSUBSCRIBE of protocol level %i', (version) => {
    const properties = version === 5 ? { userProperties } : undefined;
    const subscriptions = [{ topic: 'a/+', qos: 1 },
      { topic: '$share/g/#', qos: 2, nl: false, rap: true, rh: 1 }];
    expect(read({ cmd: 'subscribe', messageId: 7, properties, subscriptions }, version))
      .toMatchObject({ packetIdentifier: 7, entries: [
        { raw: hexOf('a/+'), options: 1 },
        { shareName: 'g', filter: '#', options: version === 5 ? 0x1a : 2 },
      ] });
    const unsubscriptions = ['a/+', 'b'];
    expect(read({ cmd: 'unsubscribe', messageId: 8, properties, unsubscriptions }, version))
      .toMatchObject({ packetIdentifier: 8, entries: [{ filter: 'a/+' }, { filter: 'b' }] });
  });

  it.each([4, 5])('acknowledgements of protocol level %i', (version) => {
    const isFive = version === 5;
    const properties = isFive ? { reasonString: 'why', userProperties } : undefined;
    for (const [cmd, code] of [['puback', 0x10], ['pubrec', 0x80], ['pubrel', 0x92],
      ['pubcomp', 0x92]] as const) {
      expect(read({ cmd, messageId: 3, reasonCode: code, properties }, version))
        .toMatchObject({ packetIdentifier: 3, reasonCode: isFive ? code : 0 });
      expect(read({ cmd, messageId: 3 }, version)).toMatchObject({ packetIdentifier: 3 });
    }
    expect(read({ cmd: 'suback', messageId: 3, granted: [0, 1, 2, 128], properties }, version))
      .toMatchObject({ codes: [0, 1, 2, 128] });
    expect(read({ cmd: 'unsuback', messageId: 3, granted: [0, 17], properties }, version))
      .toMatchObject({ codes: isFive ? [0, 17] : [] });
  });

  it('CONNACK, DISCONNECT, AUTH and pings', () => {
    expect(read({ cmd: 'connack', returnCode: 0, sessionPresent: true }, 4))
      .toMatchObject({ sessionPresent: true, reasonCode: 0 });
    expect(read({ cmd: 'connack', reasonCode: 0, sessionPresent: false, properties: {
      sessionExpiryInterval: 1234, receiveMaximum: 432, maximumQoS: 1, retainAvailable: true,
      maximumPacketSize: 100, assignedClientIdentifier: 'test', topicAliasMaximum: 456,
      reasonString: 'test', userProperties, wildcardSubscriptionAvailable: true,
      subscriptionIdentifiersAvailable: true, sharedSubscriptionAvailable: false,
      serverKeepAlive: 1234, responseInformation: 'test', serverReference: 'test',
      authenticationMethod: 'test', authenticationData: Buffer.from([1]),
    } }, 5)).toMatchObject({ properties: { userProperties: 3 } });
    expect(read({ cmd: 'disconnect' }, 4)).toMatchObject({ reasonCode: 0 });
    expect(read({ cmd: 'disconnect', reasonCode: 4,
      properties: { sessionExpiryInterval: 145, reasonString: 'test', userProperties } }, 5))
      .toMatchObject({ reasonCode: 4, sessionExpiry: 145 });
    expect(read({ cmd: 'auth', reasonCode: 0x18, properties: { authenticationMethod: 'test',
      authenticationData: Buffer.from([0]), reasonString: 'test' } }, 5))
      .toMatchObject({ reasonCode: 0x18, properties: { values: [[21, hexOf('test')], [22, '00'],
        [31, hexOf('test')]] } });
    expect(read({ cmd: 'pingreq' }, 4)).toEqual({});
    expect(read({ cmd: 'pingresp' }, 4)).toEqual({});
  });
});
