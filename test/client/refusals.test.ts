/** Several servers, some of which refuse for good: whoever takes the client has it. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { connect } from '../../lib/client/index.js';
import type { ClientOptions, NidoClient, NidoClientError } from '../../lib/client/index.js';
import { ClientKit, within } from '../conformance/client/client-kit.js';
import { serverProperty } from '../conformance/client/server-packets.js';
import { Stage, until } from './support/servers.js';

jest.setTimeout(180_000);

const stage = new Stage();
afterEach(() => stage.stop());

const BAD_PASSWORD = 0x86;
const NOT_AUTHORIZED = 0x87;
const UNAVAILABLE = 0x88;
const USE_ANOTHER = 0x9c;
const MOVED = 0x9d;

interface Told {
  readonly client: NidoClient;
  readonly errors: NidoClientError[];
}

function join(ports: readonly number[], options: ClientOptions = { protocolVersion: 5 }): Told {
  const servers = ports.map((port) => ({ host: '127.0.0.1', port }));
  const client = connect({ servers, logger: false, reconnectPeriod: 5, ...options });
  stage.onStop(() => client.end({ deadlineMs: 0 }));
  client.connected().catch(() => undefined);
  const errors: NidoClientError[] = [];
  client.on('error', (error) => void errors.push(error));
  return { client, errors };
}

async function scripted(): Promise<ClientKit> {
  const kit = new ClientKit(5);
  await kit.listen();
  stage.onStop(() => kit.close());
  return kit;
}

const name = ({ port }: { readonly port: number }): string => `mqtt://127.0.0.1:${port}`;

/** They are asked in this order, and say this. */
async function play(lines: readonly (readonly [ClientKit, number])[]): Promise<void> {
  for (const [kit, reasonCode] of lines) await kit.greet({ reasonCode });
}

describe('several servers', () => {
  it('of which the first refuses for good: the next one takes the client', async () => {
    const refuses = await stage.ours({ allowAnonymous: false });
    const takes = await stage.ours();
    const { client, errors } = join([refuses.port, takes.port]);
    await within(client.connected(), 'the client at the second server');
    expect(client.server.name).toBe(name(takes));
    expect(errors).toMatchObject([{ code: 'NIDO_CLIENT_REFUSED', reasonCode: NOT_AUTHORIZED }]);
  });

  it('that all refuse for good end the client, with the reason of each', async () => {
    const [first, second] = [await scripted(), await scripted()];
    const { client, errors } = join([first.port, second.port]);
    const connected = client.connected();
    await play([[first, NOT_AUTHORIZED], [second, BAD_PASSWORD]]);
    const message = `none of 2 servers takes this client: ${name(first)} refused the connection `
      + `(0x87 Not authorized); ${name(second)} refused the connection `
      + '(0x86 Bad User Name or Password)';
    await expect(within(connected, 'the rejection')).rejects.toMatchObject({
      code: 'NIDO_CLIENT_REFUSED', reasonCode: BAD_PASSWORD, message,
    });
    expect(client.status).toBe('closed');
    expect(errors.map((error) => error.reasonCode)).toEqual([NOT_AUTHORIZED, BAD_PASSWORD]);
    expect(errors[1]).toMatchObject({ message, cause: { errors: [errors[0], {}] } });
  });

  it('are tried on as long as one of them may yet take the client', async () => {
    const [first, second] = [await scripted(), await scripted()];
    const { client } = join([first.port, second.port]);
    await play([
      [first, NOT_AUTHORIZED], [second, UNAVAILABLE], [first, UNAVAILABLE],
      [second, NOT_AUTHORIZED],
    ]);
    await first.greet();
    await within(client.connected(), 'the client at the first server');
  });

  it('start anew after a connection: an old refusal is forgotten', async () => {
    const [first, second] = [await scripted(), await scripted()];
    const { client } = join([first.port, second.port]);
    await play([[first, NOT_AUTHORIZED]]);
    const { peer } = await second.greet();
    await within(client.connected(), 'the client at the second server');
    peer.cut();
    await play([[first, UNAVAILABLE], [second, NOT_AUTHORIZED]]);
    const connected = client.connected();
    await play([[first, BAD_PASSWORD]]);
    await expect(within(connected, 'the rejection')).rejects.toMatchObject({
      message: expect.stringMatching(/^none of 2 servers .* \(0x86 .*; .* \(0x87 /),
    });
  });

  it('are all tried again with reconnectOnConnackError', async () => {
    const [first, second] = [await scripted(), await scripted()];
    const { client } = join([first.port, second.port],
      { protocolVersion: 5, reconnectOnConnackError: true });
    await play([[first, NOT_AUTHORIZED], [second, NOT_AUTHORIZED], [first, NOT_AUTHORIZED]]);
    await second.greet();
    await within(client.connected(), 'the client at the second server');
  });

  it('are not tried with reconnectPeriod 0: whatever happens first ends the client', async () => {
    const [first, second] = [await scripted(), await scripted()];
    const { client } = join([first.port, second.port], { protocolVersion: 5, reconnectPeriod: 0 });
    const connected = client.connected();
    await play([[first, NOT_AUTHORIZED]]);
    await expect(within(connected, 'the rejection')).rejects.toMatchObject({
      message: expect.stringContaining(`${name(first)} refused the connection`),
    });
  });
});

describe('a server that sends us to one which refuses for good', () => {
  it.each([['for now', USE_ANOTHER], ['for ever', MOVED]])(
    'leaves the other servers of the list, sent %s', async (_, reasonCode) => {
      const [first, second] = [await scripted(), await scripted()];
      const elsewhere = await scripted();
      const { client } = join([first.port, second.port]);
      const properties = [serverProperty.serverReference(`127.0.0.1:${elsewhere.port}`)];
      await first.greet({ reasonCode, properties });
      await play([[elsewhere, NOT_AUTHORIZED]]);
      await second.greet();
      await within(client.connected(), 'the client at the second server');
      expect(client.server.name).toBe(name(second));
    });

  it('has refused, when it has named all of those who did', async () => {
    const [only, one, other] = [await scripted(), await scripted(), await scripted()];
    const { client } = join([only.port]);
    const connected = client.connected();
    const to = `127.0.0.1:${one.port} 127.0.0.1:${other.port}`;
    await only.greet({ reasonCode: USE_ANOTHER, properties: [serverProperty.serverReference(to)] });
    await play([[one, NOT_AUTHORIZED], [other, BAD_PASSWORD]]);
    await expect(within(connected, 'the rejection')).rejects.toMatchObject({
      message: expect.stringMatching(
        new RegExp(`^none of 2 servers .*${name(one)} .*${name(other)} `)),
    });
  });

  it('is asked again when one of those may yet take the client', async () => {
    const [only, one, other] = [await scripted(), await scripted(), await scripted()];
    const { client } = join([only.port]);
    const to = `127.0.0.1:${one.port} 127.0.0.1:${other.port}`;
    await only.greet({ reasonCode: USE_ANOTHER, properties: [serverProperty.serverReference(to)] });
    await play([[one, NOT_AUTHORIZED], [other, UNAVAILABLE]]);
    await only.greet();
    await within(client.connected(), 'the client at the only server');
  });
});

/** CONNACKs of MQTT 3.1.1: of the Protocol Level 4, and of any other. */
async function speaker(answers: Readonly<Record<number, number>>): Promise<{
  readonly port: number; readonly levels: number[];
}> {
  const LEVEL_AT = 8; // behind the fixed header of a short CONNECT, and `MQTT` with its length
  const levels: number[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
    socket.once('data', (connectPacket) => {
      const level = connectPacket[LEVEL_AT];
      levels.push(level);
      const returnCode = answers[level];
      socket.write(Buffer.from(level === 5 && returnCode !== 1
        ? [0x20, 3, 0, returnCode, 0] : [0x20, 2, 0, returnCode]));
      if (returnCode !== 0) socket.end();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  stage.onStop(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, levels };
}

describe('the version, when nobody has asked for one', () => {
  it('is 5 again with the server behind an old one that refused', async () => {
    const old = await speaker({ 5: 1, 4: 5 });
    const ours = await stage.ours();
    const { client, errors } = join([old.port, ours.port], {});
    await within(client.connected(), 'the client at the second server');
    expect([client.protocolVersion, old.levels]).toEqual([5, [5, 4]]);
    expect(errors).toMatchObject([{ reasonCode: NOT_AUTHORIZED }]);
  });

  it('is 5 with a server that knows nothing else, behind an old one', async () => {
    const old = await speaker({ 5: 1, 4: 3 });
    const fresh = await speaker({ 5: 0, 4: 1 });
    const { client } = join([old.port, fresh.port], {});
    await within(client.connected(), 'the client at the second server');
    expect([client.protocolVersion, old.levels, fresh.levels]).toEqual([5, [5, 4], [4, 5]]);
  });

  it('of servers that know neither is told once for each', async () => {
    const [first, second] = [await speaker({ 5: 1, 4: 1 }), await speaker({ 5: 1, 4: 1 })];
    const { client, errors } = join([first.port, second.port], {});
    await until(() => client.status === 'closed', 'the end of the client');
    expect([first.levels, second.levels]).toEqual([[5, 4], [5, 4]]);
    expect(errors).toHaveLength(2);
  });
});
