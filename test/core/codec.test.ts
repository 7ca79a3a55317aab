import { beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { hex, readFrame, type Fields, type Verdict } from '../support/twin-parser.js';
import { vbi } from '../support/random-packets.js';
import { CodecHost, compileCodec } from './codec-host.js';

const MALFORMED = 0x81;
const PROTOCOL = 0x82;
const FILTER_INVALID = 0x8f;
const TOPIC_INVALID = 0x90;
const QUOTA = 0x97;

let module: WebAssembly.Module;
let host: CodecHost;
beforeAll(() => {
  module = compileCodec();
}, 120_000);
beforeEach(() => {
  host = new CodecHost(module);
});

function bytes(text: string): Buffer {
  return Buffer.from(text.replace(/[^0-9a-f]/g, ''), 'hex');
}

function string(text: string): string {
  const content = Buffer.from(text);
  return Buffer.from([content.length >> 8, content.length & 255, ...content]).toString('hex');
}

/** Parses a body given in hexadecimal digits; the type is the first digit of `header`. */
function parse(header: number, body: string, version = 5): Verdict {
  return host.packet(header, bytes(body), version, 'client');
}

function reasonOf(header: number, body: string, version = 5): number {
  return parse(header, body, version).reason;
}

function fieldsOf(header: number, body: string, version = 5): Fields {
  const verdict = parse(header, body, version);
  expect(verdict.reason).toBe(0);
  return verdict.fields ?? {};
}

describe('fixed header', () => {
  it('waits for every byte of a header and never for the body', () => {
    const packet = bytes('30 ff ff 7f');
    for (let arrived = 0; arrived < packet.length; arrived++) {
      expect(host.frame(packet.subarray(0, arrived), 4)).toBe('more');
    }
    expect(host.frame(packet, 4)).toEqual({ header: 0x30, bodyAt: 4, remaining: 2_097_151 });
  });

  it('refuses a fifth length byte as soon as the fourth asks for it', () => {
    expect(host.frame(bytes('30 ff ff ff'), 5)).toBe('more');
    expect(host.frame(bytes('30 ff ff ff 80'), 5)).toBe('malformed');
  });

  it('refuses a length that is longer than it needs to be', () => {
    for (const packet of ['30 80 00', '30 ff 80 00', '30 80 80 80 00', 'c0 80 00']) {
      expect(host.frame(bytes(packet), 5)).toBe('malformed');
    }
  });

  it('accepts exactly the first bytes that the twin accepts, from the first byte on', () => {
    for (const version of [3, 4, 5]) {
      for (let header = 0; header < 256; header++) {
        const one = Uint8Array.of(header);
        expect([version, header, host.frame(one, version)])
          .toEqual([version, header, readFrame(one, version)]);
      }
    }
  });

  it('refuses a ping with a body, and below version 5 a DISCONNECT with one', () => {
    expect(host.frame(bytes('c0 01'), 5)).toBe('malformed');
    expect(host.frame(bytes('d0 01'), 5)).toBe('malformed');
    expect(host.frame(bytes('e0 01'), 4)).toBe('malformed');
    expect(host.frame(bytes('e0 01'), 5)).toMatchObject({ remaining: 1 });
  });
});

describe('Variable Byte Integer', () => {
  it('is written in the fewest bytes and read back at every size', () => {
    for (const value of [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455]) {
      const at = host.put(new Uint8Array(8));
      const end = host.call.writeVbi(at, value);
      expect([...host.bytes(at, end - at)]).toEqual(vbi(value));
      expect(host.call.vbiSize(value)).toBe(end - at);
      expect(host.call.readVbi(at, end)).toBe(end);
      expect(host.get('vbiValue')).toBe(value);
      expect(host.call.readVbi(at, end - 1)).toBe(0);
    }
  });
});

describe('UTF-8', () => {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  function isValid(content: Uint8Array): boolean {
    try {
      return !decoder.decode(content).includes('\0');
    } catch {
      return false;
    }
  }

  it('answers as the platform does for every sequence of one to three bytes of interest', () => {
    const edges = [0, 1, 0x2b, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2,
      0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff];
    const disagreements: string[] = [];
    const check = (content: Uint8Array) => {
      const at = host.put(content);
      const found = host.call.isWellFormed(at, content.length) === 1;
      if (found !== isValid(content)) disagreements.push(hex(content));
    };
    for (const a of edges) {
      for (const b of edges) {
        check(Uint8Array.of(a, b));
        for (const c of edges) {
          check(Uint8Array.of(a, b, c));
          for (const d of [0x7f, 0x80, 0xbf, 0xc0]) check(Uint8Array.of(a, b, c, d));
        }
      }
    }
    expect(disagreements).toEqual([]);
  });

  it('finds a bad byte at every position of a long string, and nothing behind its end', () => {
    for (let length = 0; length <= 50; length++) {
      const good = new Uint8Array(length).fill(0x61);
      expect([length, host.call.isWellFormed(host.put(good), length)]).toEqual([length, 1]);
      for (let position = 0; position < length; position++) {
        for (const bad of [0x00, 0x80, 0xff]) {
          const content = good.slice();
          content[position] = bad;
          const found = host.call.isWellFormed(host.put(content), length);
          expect([position, found]).toEqual([position, 0]);
        }
      }
    }
  });

  it('keeps U+FEFF as a character of the string', () => {
    const topic = '\ufeffa';
    expect(fieldsOf(0x30, `${string(topic)}`, 4).topic).toBe(Buffer.from(topic).toString('hex'));
  });
});

describe('Topic Name', () => {
  it('has no wildcard anywhere, at any length', () => {
    for (let length = 1; length <= 40; length++) {
      for (let position = 0; position < length; position++) {
        for (const wildcard of '+#') {
          const name = Buffer.alloc(length, 'a');
          name.write(wildcard, position);
          expect(host.call.isTopicName(host.put(name), length)).toBe(0);
          expect(host.call.topicNameReason(host.put(name), length)).toBe(TOPIC_INVALID);
        }
      }
      expect(host.call.isTopicName(host.put(Buffer.from('/'.repeat(length))), length)).toBe(1);
    }
  });

  it('is malformed rather than invalid when it is no string at all', () => {
    expect(host.call.topicNameReason(host.put(bytes('2b ff')), 2)).toBe(MALFORMED);
    expect(host.call.topicNameReason(host.put(Buffer.from('日本/+')), 8)).toBe(TOPIC_INVALID);
    expect(host.call.topicNameReason(host.put(bytes('')), 0)).toBe(TOPIC_INVALID);
  });
});

describe('Topic Filter', () => {
  function reason(filter: string): number {
    const content = Buffer.from(filter);
    return host.call.parseTopicFilter(host.put(content), content.length);
  }

  it('takes wildcards that fill a level, # only at the end', () => {
    for (const filter of ['#', '+', '+/+', 'a/#', '/#', '/+', '+/', 'a/+/b', '$SYS/#', '//', ' ']) {
      expect([filter, reason(filter)]).toEqual([filter, 0]);
    }
    for (const filter of ['a#', 'a+', '+a', '#/a', '##', 'a/#/', '++', 'a/b+/c', '']) {
      expect([filter, reason(filter)]).toEqual([filter, FILTER_INVALID]);
    }
  });

  it('takes a shared filter apart', () => {
    expect(reason('$share/workers/a/+/#')).toBe(0);
    const part = (name: string) => host.bytes(host.get(`${name}At`), host.get(`${name}Length`));
    expect(part('shareName').toString()).toBe('workers');
    expect(part('filter').toString()).toBe('a/+/#');
    expect(host.get('filterLevels')).toBe(3);
    expect(host.get('filterHasWildcard')).toBe(1);
  });

  it('refuses a shared filter without a name or a filter, or with a wildcard in the name', () => {
    for (const rest of ['', '/a', 'g', 'g/', '+/a', 'g#/a', 'g/a+']) {
      const filter = `$share/${rest}`;
      expect([filter, reason(filter)]).toEqual([filter, FILTER_INVALID]);
    }
    expect(reason('$shared/+/a')).toBe(0);
    expect(host.get('shareNameLength')).toBe(0);
  });

  it('counts the levels of the longest filter', () => {
    const content = Buffer.alloc(65_535, '/');
    expect(host.call.parseTopicFilter(host.put(content), content.length)).toBe(0);
    expect(host.get('filterLevels')).toBe(65_536);
    expect(host.call.topicLevelsOf(host.put(content), content.length)).toBe(65_536);
    expect(host.call.topicLevelsOf(host.put(Buffer.from('a/b')), 3)).toBe(2);
    expect(host.call.topicLevelsOf(host.put(bytes('')), 0)).toBe(0);
  });
});

describe('PUBLISH', () => {
  const topic = string('a/b');

  it('has a packet identifier above QoS 0 only, and never 0', () => {
    expect(fieldsOf(0x30, `${topic} 0102`, 4))
      .toMatchObject({ packetIdentifier: 0, payload: '0102' });
    expect(fieldsOf(0x32, `${topic} 0102`, 4))
      .toMatchObject({ packetIdentifier: 258, payload: '' });
    expect(reasonOf(0x32, `${topic} 0000`, 4)).toBe(PROTOCOL);
    expect(reasonOf(0x32, `${topic} 01`, 4)).toBe(MALFORMED);
    expect(reasonOf(0x36, `${topic} 0001`, 4)).toBe(MALFORMED);
    expect(reasonOf(0x38, topic, 4)).toBe(MALFORMED);
  });

  it('has an empty Topic Name only with an alias', () => {
    expect(reasonOf(0x30, '0000 00')).toBe(PROTOCOL);
    expect(reasonOf(0x30, '0000', 4)).toBe(TOPIC_INVALID);
    expect(fieldsOf(0x30, '0000 03 230001')).toMatchObject({ topic: '', alias: 1 });
    expect(reasonOf(0x30, '0000 03 230000')).toBe(0x94);
  });

  it('tells apart who may send Subscription Identifiers', () => {
    const body = `${topic} 05 0b01 0bff7f`;
    expect(reasonOf(0x30, body)).toBe(PROTOCOL);
    expect(host.packet(0x30, bytes(body), 5, 'server').fields)
      .toMatchObject({ properties: { identifiers: [1, 16_383] } });
    const many = '0b01'.repeat(1025);
    const length = Buffer.from(vbi(many.length / 2)).toString('hex');
    expect(host.packet(0x30, bytes(topic + length + many), 5, 'server').reason).toBe(QUOTA);
  });

  it('forgets the properties of the packet before', () => {
    expect(fieldsOf(0x30, `${topic} 07 0200000005 0101`)).toMatchObject({ expiry: 5, format: 1 });
    const without = { expiry: -1, format: 0, alias: 0, forwarded: '', properties: { values: [] } };
    expect(fieldsOf(0x30, `${topic} 00`)).toMatchObject(without);
    expect(fieldsOf(0x30, topic, 4)).toMatchObject(without);
  });

  it('checks the payload format only when asked', () => {
    expect(reasonOf(0x30, `${topic} 02 0101 ff`)).toBe(0);
    expect(host.call.isPayloadFormatValid()).toBe(0);
    expect(reasonOf(0x30, `${topic} 02 0101 c3a9`)).toBe(0);
    expect(host.call.isPayloadFormatValid()).toBe(1);
    expect(reasonOf(0x30, `${topic} 00 ff`)).toBe(0);
    expect(host.call.isPayloadFormatValid()).toBe(1);
  });

  it('answers what is forwarded as one range, in the order of the publisher', () => {
    const format = '0101';
    const type = `03${string('t')}`;
    const user = `26${string('k')}${string('v1')}`;
    const user2 = `26${string('k')}${string('v2')}`;
    const expiry = '0200000009';
    const alias = '230005';
    const body = (list: string[]) => {
      const all = list.join('');
      return `${topic}${Buffer.from(vbi(all.length / 2)).toString('hex')}${all}aabb`;
    };
    for (const list of [[format, type, user, user2], [expiry, format, type, user, user2, alias],
      [format, expiry, type, user, alias, user2], [format, type, user, expiry, user2]]) {
      expect(fieldsOf(0x30, body(list))).toMatchObject({
        forwarded: format + type + user + user2, payload: 'aabb',
        expiry: list.includes(expiry) ? 9 : -1, alias: list.includes(alias) ? 5 : 0,
      });
    }
    expect(fieldsOf(0x30, body([expiry, alias])).forwarded).toBe('');
  });

  it('says the same when it is parsed again after its properties were gathered', () => {
    const body = bytes(`${topic} 0e 0101 0200000009 260001 6b 0001 76 aa`);
    const at = host.put(body);
    const parse = () => host.call.parsePublish(0x30, at, at + body.length, 5);
    const seen = () => [host.get('publishExpiry'), host.get('publishPayloadAt') - at,
      host.bytes(host.get('publishForwardAt'), host.get('publishForwardLength')).toString('hex')];
    expect(parse()).toBe(0);
    const first = seen();
    expect(parse()).toBe(0);
    expect(seen()).toEqual(first);
    expect(first[0]).toBe(9);
  });
});

describe('properties', () => {
  function connackReason(properties: string): number {
    const length = Buffer.from(vbi(bytes(properties).length)).toString('hex');
    return reasonOf(0x20, `0000 ${length} ${properties}`);
  }

  it('are malformed when unknown, misplaced or cut off', () => {
    for (const bad of ['00', '04 01', '2b 01', '80 01', '02 00000001', '11 000001', '12 0005 61']) {
      expect([bad, connackReason(bad)]).toEqual([bad, MALFORMED]);
    }
    expect(reasonOf(0x20, '0000 05 2400')).toBe(MALFORMED);
    expect(reasonOf(0x20, '0000')).toBe(MALFORMED);
    expect(reasonOf(0x20, '0000 80')).toBe(MALFORMED);
    expect(reasonOf(0x20, '0000 8000')).toBe(MALFORMED);
  });

  it('are a protocol error when repeated or out of range', () => {
    for (const bad of ['2401 2401', '2402', '25 02', '21 0000', '27 00000000', '2a 02']) {
      expect([bad, connackReason(bad)]).toEqual([bad, PROTOCOL]);
    }
  });

  it('hold both halves of a User Property to the rules for strings', () => {
    expect(connackReason(`26 ${string('k')} ${string('v')}`)).toBe(0);
    expect(connackReason(`26 0001ff ${string('v')}`)).toBe(MALFORMED);
    expect(connackReason(`26 ${string('k')} 000100`)).toBe(MALFORMED);
  });

  it('bound the User Properties of one packet', () => {
    const one = '26 0000 0000';
    expect(connackReason(one.repeat(256))).toBe(0);
    expect(connackReason(one.repeat(257))).toBe(QUOTA);
    host.call.setUserPropertiesMax(1);
    expect(connackReason(one)).toBe(0);
    expect(connackReason(one.repeat(2))).toBe(QUOTA);
  });

  it('refuse a Response Topic that could not be published to', () => {
    for (const name of ['a/+', '#', '']) {
      const value = `08${string(name)}`;
      const length = (value.length / 2).toString(16).padStart(2, '0');
      expect([name, reasonOf(0x30, `${string('t')}${length}${value}`)]).toEqual([name, PROTOCOL]);
    }
  });
});

describe('CONNECT', () => {
  const head = (level: number, flags: string) => `${string('MQTT')} 0${level} ${flags} 003c`;

  it('takes the three protocols, and tells an unknown one what it asked for', () => {
    expect(reasonOf(0x10, `${string('MQIsdp')} 03 02 003c ${string('id')}`)).toBe(0);
    expect(reasonOf(0x10, `${head(4, '02')} 0000`)).toBe(0);
    for (const [name, level] of [['MQIsdp', '83'], ['MQTT', '84']] as const) { // a bridge
      expect(reasonOf(0x10, `${string(name)} ${level} 02 003c ${string('id')}`)).toBe(0);
    }
    expect(reasonOf(0x10, `${string('MQTT')} 85 02 003c 00 0000`)).toBe(0x84);
    expect(reasonOf(0x10, `${head(5, '02')} 00 0000`)).toBe(0);
    const unknown = [['MQTT', 3], ['MQTT', 6], ['MQIsdp', 4], ['MQIsdp', 5]] as const;
    for (const [name, level] of unknown) {
      expect(reasonOf(0x10, `${string(name)} 0${level} 02 003c 0000`)).toBe(0x84);
      expect(host.get('connectVersionUnsupported')).toBe(level);
    }
    expect(reasonOf(0x10, `${string('MQTT')}`)).toBe(MALFORMED);
  });

  it('does not know another protocol by its name, whatever its level', () => {
    for (const name of ['mqtt', '', 'MQT', 'MQTTX', 'MQIsdq', 'MQIsdpp']) {
      for (const level of [3, 4, 5]) {
        const body = `${string(name)} 0${level} 02 003c 0000`;
        expect([name, reasonOf(0x10, body)]).toEqual([name, MALFORMED]);
      }
    }
  });

  it('refuses Connect Flags that contradict themselves', () => {
    for (const flags of ['03', '0a', '22', '1e', '3e']) {
      expect([flags, reasonOf(0x10, `${head(4, flags)} 0000 ${string('w')} 0000`, 4)])
        .toEqual([flags, MALFORMED]);
    }
    expect(reasonOf(0x10, `${head(4, '42')} 0000 0001aa`)).toBe(MALFORMED);
    expect(fieldsOf(0x10, `${head(5, '42')} 00 0000 0001aa`)).toMatchObject({ password: 'aa' });
  });

  it('refuses bytes that no flag announces and fields that are missing', () => {
    expect(reasonOf(0x10, `${head(4, '02')} 0000 00`)).toBe(MALFORMED);
    expect(reasonOf(0x10, `${head(4, '02')}`)).toBe(MALFORMED);
    expect(reasonOf(0x10, `${head(4, '82')} 0000`)).toBe(MALFORMED);
    expect(reasonOf(0x10, `${head(4, 'c2')} 0000 ${string('u')}`)).toBe(MALFORMED);
  });

  it('lets a 3.1 client leave out the credentials it announced', () => {
    const body = `${string('MQIsdp')} 03 c2 003c ${string('id')}`;
    expect(fieldsOf(0x10, body)).toMatchObject({ userName: null, password: null });
    expect(fieldsOf(0x10, `${body} ${string('u')}`))
      .toMatchObject({ userName: '75', password: null });
  });

  it('allows an empty identifier where the version does', () => {
    expect(reasonOf(0x10, `${head(4, '00')} 0000`)).toBe(0x85);
    expect(reasonOf(0x10, `${head(5, '00')} 00 0000`)).toBe(0);
    expect(reasonOf(0x10, `${string('MQIsdp')} 03 02 003c 0000`)).toBe(0x85);
  });

  it('keeps the will with its properties apart from those of the packet', () => {
    const will = `03${string('t')} 1800000007 26${string('k')}${string('v')}`;
    const length = (bytes(will).length).toString(16).padStart(2, '0');
    const body = `${head(5, '36')} 05 1100000009 ${string('id')} ${length} ${will} ${string('w')}
      0002aabb`;
    expect(fieldsOf(0x10, body)).toMatchObject({
      willQos: 2, flags: 0x36, properties: { values: [[17, 9]] },
      will: { topic: '77', payload: 'aabb',
        forwarded: hex(bytes(`03${string('t')} 26${string('k')}${string('v')}`)),
        properties: { userProperties: 1 } },
    });
    expect(reasonOf(0x10, `${head(5, '06')} 00 0000 00 ${string('w/+')} 0000`)).toBe(TOPIC_INVALID);
    expect(reasonOf(0x10, `${head(5, '06')} 00 0000 02 0101 ${string('w')} 0001ff`)).toBe(0);
    expect(host.call.isWillPayloadFormatValid()).toBe(0);
  });

  it('refuses Authentication Data without a method', () => {
    expect(reasonOf(0x10, `${head(5, '02')} 04 160001aa 0000`)).toBe(PROTOCOL);
    expect(reasonOf(0x10, `${head(5, '02')} 08 15000161 160001aa 0000`)).toBe(0);
  });
});

describe('SUBSCRIBE and UNSUBSCRIBE', () => {
  it('need an identifier and at least one filter', () => {
    for (const header of [0x82, 0xa2]) {
      expect(reasonOf(header, '0001', 4)).toBe(PROTOCOL);
      expect(reasonOf(header, '0001 00')).toBe(PROTOCOL);
      expect(reasonOf(header, `0000 ${string('a')} 00`, 4)).toBe(PROTOCOL);
      expect(reasonOf(header, '00', 4)).toBe(MALFORMED);
    }
  });

  it('refuse the whole packet for one bad entry', () => {
    expect(reasonOf(0x82, `0001 ${string('a')} 00 ${string('b#')} 00`, 4)).toBe(FILTER_INVALID);
    expect(reasonOf(0x82, `0001 ${string('a')} 00 ${string('b')}`, 4)).toBe(MALFORMED);
    expect(reasonOf(0xa2, `0001 ${string('a')} ${string('b#')}`, 4)).toBe(FILTER_INVALID);
    expect(reasonOf(0xa2, `0001 ${string('a')} 0005 61`, 4)).toBe(MALFORMED);
  });

  it('check the options of each version', () => {
    const options = (byte: string, version: number) =>
      reasonOf(0x82, `0001 ${version === 5 ? '00' : ''} ${string('a')} ${byte}`, version);
    expect(['02', '03', '04', '80'].map((byte) => options(byte, 4)))
      .toEqual([0, MALFORMED, MALFORMED, MALFORMED]);
    expect(['02', '03', '84'].map((byte) => options(byte, 3))).toEqual([0, MALFORMED, 0]);
    expect(['2e', '03', '30', '40', '80'].map((byte) => options(byte, 5)))
      .toEqual([0, PROTOCOL, PROTOCOL, MALFORMED, MALFORMED]);
    expect(reasonOf(0x82, `0001 00 ${string('$share/g/a')} 04`)).toBe(PROTOCOL);
    expect(reasonOf(0x82, `0001 00 ${string('$share/g/a')} 00`)).toBe(0);
  });

  it('carry one Subscription Identifier, not 0', () => {
    expect(reasonOf(0x82, `0001 02 0b00 ${string('a')} 00`)).toBe(PROTOCOL);
    expect(reasonOf(0x82, `0001 04 0b010b02 ${string('a')} 00`)).toBe(PROTOCOL);
    expect(reasonOf(0x82, `0001 02 0b07 ${string('a')} 00`)).toBe(0);
    expect(host.get('subscribeIdentifier')).toBe(7);
  });
});

describe('acknowledgements, DISCONNECT and AUTH', () => {
  it('may leave out what is 0 or empty', () => {
    for (const header of [0x40, 0x50, 0x62, 0x70]) {
      expect(fieldsOf(header, '0007')).toMatchObject({ packetIdentifier: 7, reasonCode: 0 });
      expect(fieldsOf(header, '0007 00')).toMatchObject({ reasonCode: 0 });
      expect(fieldsOf(header, '0007 00 00')).toMatchObject({ reasonCode: 0 });
      expect(reasonOf(header, '0007 00', 4)).toBe(MALFORMED);
      expect(reasonOf(header, '0007 00 00 00')).toBe(MALFORMED);
    }
    expect(fieldsOf(0xe0, '')).toMatchObject({ reasonCode: 0, sessionExpiry: -1 });
    expect(fieldsOf(0xe0, '04')).toMatchObject({ reasonCode: 4 });
    expect(fieldsOf(0xe0, '00 05 1100000003')).toMatchObject({ sessionExpiry: 3 });
    expect(fieldsOf(0xf0, '')).toMatchObject({ reasonCode: 0 });
  });

  it('use only the Reason Codes that are listed for them', () => {
    expect(reasonOf(0x40, '0007 92')).toBe(PROTOCOL);
    expect(reasonOf(0x62, '0007 92')).toBe(0);
    expect(reasonOf(0x62, '0007 10')).toBe(PROTOCOL);
    expect(reasonOf(0xe0, '01')).toBe(PROTOCOL);
    expect(reasonOf(0xf0, '80 00')).toBe(PROTOCOL);
    expect(reasonOf(0xf0, '18 00')).toBe(PROTOCOL);
    expect(reasonOf(0xf0, '18 04 15000161')).toBe(0);
  });

  it('let no server change the session expiry in its DISCONNECT', () => {
    expect(host.packet(0xe0, bytes('00 05 1100000003'), 5, 'server').reason).toBe(PROTOCOL);
  });

  it('are written as short as they can be, and read back', () => {
    const at = host.put(new Uint8Array(8));
    const write = (type: number, code: number, version: number) => {
      const length = host.call.writeAcknowledgement(at, type, 0x1234, code, version);
      return host.bytes(at, length).toString('hex');
    };
    expect(write(4, 0, 5)).toBe('40021234');
    expect(write(5, 0x97, 5)).toBe('5003123497');
    expect(write(5, 0x97, 4)).toBe('50021234');
    expect(write(6, 0x92, 5)).toBe('6203123492');
    expect(write(7, 0, 4)).toBe('70021234');
  });
});
