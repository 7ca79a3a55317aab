/** TLS doors: certificates, server names, mutual TLS, pre-shared keys, reload. */
import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, writeFileSync } from 'node:fs';
import { X509Certificate } from 'node:crypto';
import { connect as connectTls } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { connect } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { createListener, openTransport, reloadOnSignal } from '../../lib/listener/index.js';
import type {
  Listener, ListenerOptions, TlsListenerOptions, Transport,
} from '../../lib/listener/index.js';
import { splitAlternativeNames } from '../../lib/listener/tls-identity.js';
import { parsePskFile } from '../../lib/listener/pre-shared-keys.js';
import { Certificates } from './support/certificates.js';
import type { Pair } from './support/certificates.js';
import { Reception, Recorder, rejection, stopAll, until } from './support/peers.js';

const host = '127.0.0.1';
const KEY = Buffer.from('00112233445566778899aabbccddeeff', 'hex');
let certificates: Certificates;
let server: Pair;
let device: Pair;
let stranger: Certificates;
let reception = new Reception();
const listeners: Listener[] = [];
const clients: { destroy(): void }[] = [];

beforeAll(() => {
  certificates = new Certificates();
  stranger = new Certificates('Other Authority');
  server = certificates.server();
  device = certificates.issue('device', '/O=Casa/CN=sala-1', 'DNS:sala.casa,URI:urn:dev:1');
});
afterAll(() => {
  certificates.remove();
  stranger.remove();
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  for (const transport of reception.transports) transport.destroy();
  await stopAll(listeners.splice(0));
  reception = new Reception();
});

async function open(tls: TlsListenerOptions, more: ListenerOptions = {}): Promise<Listener> {
  const listener = createListener({ port: 0, host, tls, ...more }, reception.observer);
  listeners.push(listener);
  await listener.start(reception.accept);
  return listener;
}

function failure(tls: TlsListenerOptions): Promise<Error & { code?: string }> {
  return rejection(createListener({ port: 0, host, tls }).start(reception.accept));
}

/** Node's own client, so that our two sides do not agree on a mistake. */
function nodeClient(listener: Listener, options: ConnectionOptions): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({
      port: listener.port, host, ca: [caOf(certificates)], servername: 'localhost', ...options,
    });
    clients.push(socket);
    socket.once('secureConnect', () => resolve(socket)).once('error', reject);
    socket.on('error', () => {});
  });
}

function caOf(authority: Certificates): Buffer {
  return execFileSync('cat', [authority.caFile]);
}

function pem(pair: Pair): { cert: Buffer; key: Buffer } {
  return { cert: execFileSync('cat', [pair.certFile]), key: execFileSync('cat', [pair.keyFile]) };
}

async function ours(listener: Listener, tls: object): Promise<Transport> {
  const transport = await openTransport({ host, port: listener.port, tls });
  clients.push(transport);
  return transport;
}

describe('certificates and keys that are wrong', () => {
  it('names the file that cannot be read', async () => {
    const error = await failure({ ...server, certFile: '/nowhere/a.crt' });
    expect(error.code).toBe('NIDO_LISTENER_FILE_UNREADABLE');
    expect(error.message).toContain('certFile /nowhere/a.crt');
    expect(error.message).toContain('ENOENT');
  });

  it('names the file that is no certificate, no key, no authority', async () => {
    const junk = certificates.path('junk.pem');
    writeFileSync(junk, 'not PEM at all');
    const cert = await failure({ ...server, certFile: junk });
    expect(cert.code).toBe('NIDO_LISTENER_TLS_CERTIFICATE_BAD');
    expect(cert.message).toContain(`certFile ${junk}`);
    const key = await failure({ ...server, keyFile: junk });
    expect(key.code).toBe('NIDO_LISTENER_TLS_KEY_BAD');
    expect(key.message).toContain(`keyFile ${junk}`);
    const ca = await failure({ ...server, caFile: [certificates.caFile, junk] });
    expect(ca.code).toBe('NIDO_LISTENER_TLS_CA_BAD');
    expect(ca.message).toContain(`caFile ${junk}`);
  });

  it('names both when the key belongs to another certificate', async () => {
    const error = await failure({ certFile: server.certFile, keyFile: device.keyFile });
    expect(error.code).toBe('NIDO_LISTENER_TLS_KEY_MISMATCH');
    expect(error.message).toContain(device.keyFile);
    expect(error.message).toContain(server.certFile);
    expect(error.message).toContain('CN=localhost');
  });

  it('says when the key needs a passphrase', async () => {
    const keyFile = certificates.path('locked.key');
    execFileSync('openssl', ['pkcs8', '-topk8', '-in', server.keyFile, '-out', keyFile,
      '-passout', 'pass:secret']);
    const error = await failure({ certFile: server.certFile, keyFile });
    expect(error.code).toBe('NIDO_LISTENER_TLS_KEY_BAD');
    expect(error.message).toContain('without a passphrase');
    await open({ certFile: server.certFile, keyFile, passphrase: 'secret' });
  });

  it('says when one half is missing, and when OpenSSL does not know the rest', async () => {
    expect((await failure({ certFile: server.certFile })).code)
      .toBe('NIDO_LISTENER_TLS_CERTIFICATE_MISSING');
    expect((await failure({ ...server, ciphers: 'NO-SUCH-SUITE' })).code)
      .toBe('NIDO_LISTENER_TLS_OPTIONS_BAD');
  });

  it('names the line of a bad key file, and never a key', async () => {
    const pskFile = certificates.path('bad.psk');
    writeFileSync(pskFile, '# keys\nsala:00ff\ncocina:secretword\n');
    const error = await failure({ pskFile });
    expect(error.code).toBe('NIDO_LISTENER_PSK_BAD');
    expect(error.message).toContain(`${pskFile}, line 3`);
    expect(error.message).not.toContain('secretword');
  });
});

describe('a TLS door', () => {
  it('speaks TLS 1.2 and 1.3, not older, and agrees on ALPN mqtt', async () => {
    const listener = await open(server);
    const socket = await nodeClient(listener, { ALPNProtocols: ['mqtt'] });
    expect([socket.getProtocol(), socket.alpnProtocol]).toEqual(['TLSv1.3', 'mqtt']);
    const older = await nodeClient(listener, { maxVersion: 'TLSv1.2' });
    expect([older.getProtocol(), older.alpnProtocol]).toEqual(['TLSv1.2', false]);
    await rejection(nodeClient(listener, {
      minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0',
    }));
    await rejection(nodeClient(listener, { ALPNProtocols: ['h2'] }));
    expect((await reception.refused(2)).reason).toBe('tls-handshake');
  });

  it('talks with openssl s_client', async () => {
    const listener = await open(server);
    const child = spawn('openssl', ['s_client', '-quiet', '-connect', `${host}:${listener.port}`,
      '-CAfile', certificates.caFile, '-verify_return_error'], { stdio: 'pipe' });
    child.stdin.write('from openssl');
    await reception.next();
    await until('the bytes', () => reception.recorders[0].content.toString() === 'from openssl');
    let answer = '';
    child.stdout.on('data', (chunk) => { answer += String(chunk); });
    reception.transports[0].write(Buffer.from('to openssl'), () => {});
    await until('the answer', () => answer === 'to openssl');
    child.kill();
    await until('closed', () => reception.recorders[0].closed === 1);
  });

  it('shows the certificate of the server name that was asked for', async () => {
    const other = certificates.server('other', 'otra.casa');
    const wild = certificates.issue('wild', '/CN=wild', 'DNS:*.patio.casa');
    const listener = await open({
      ...server,
      sni: [{ serverName: 'otra.casa', ...other }, { serverName: '*.patio.casa', ...wild }],
    });
    const nameOf = async (servername: string): Promise<string> => {
      const options = { servername, checkServerIdentity: () => undefined };
      return String((await nodeClient(listener, options)).getPeerCertificate().subject.CN);
    };
    expect(await nameOf('OTRA.casa')).toBe('otra.casa');
    expect(await nameOf('luz.patio.casa')).toBe('wild');
    expect(await nameOf('a.luz.patio.casa')).toBe('localhost');
    expect(await nameOf('unknown')).toBe('localhost');
  });

  it('cuts a handshake that never ends, and garbage', async () => {
    const listener = await open(server, { handshakeDeadlineMs: 80 });
    const silent = connect(listener.port as number, host);
    clients.push(silent);
    await until('cut', () => silent.closed);
    expect(await reception.refused())
      .toMatchObject({ reason: 'tls-handshake', remoteAddress: host });
    const garbage = connect(listener.port as number, host);
    clients.push(garbage);
    garbage.on('error', () => {}).write('GET / HTTP/1.1\r\n\r\n');
    garbage.resume();
    await reception.refused(2);
    await until('closed', () => garbage.closed);
    expect(reception.transports).toHaveLength(0);
  });

  it('cuts handshakes that are under way when it closes', async () => {
    const listener = await open(server);
    const silent = connect(listener.port as number, host);
    clients.push(silent);
    await until('connected', () => silent.readyState === 'open');
    // Whoever comes second is taken in second: when this one is inside, the other waits.
    await nodeClient(listener, {});
    await reception.next();
    await listener.stop(60_000);
    await until('cut', () => silent.closed);
  });
});

describe('mutual TLS', () => {
  const mutual = (): TlsListenerOptions =>
    ({ ...server, caFile: certificates.caFile, requestCert: true });

  it('gives the identity of a verified certificate: common name and alternative '
    + 'names', async () => {
    const listener = await open(mutual());
    await nodeClient(listener, pem(device));
    expect((await reception.next()).identity).toEqual({
      via: 'certificate', name: 'sala-1', alternativeNames: ['DNS:sala.casa', 'URI:urn:dev:1'],
    });
    await ours(listener, { caFile: certificates.caFile, servername: 'localhost', ...device });
    expect((await reception.next(2)).identity?.name).toBe('sala-1');
  });

  it('refuses no certificate, and a certificate of another authority', async () => {
    const listener = await open(mutual());
    await rejection(nodeClient(listener, { maxVersion: 'TLSv1.2' }));
    const foreign = stranger.issue('device', '/CN=sala-1', 'DNS:sala.casa');
    await rejection(nodeClient(listener, { ...pem(foreign), maxVersion: 'TLSv1.2' }));
    await reception.refused(2);
    expect(reception.transports).toHaveLength(0);
  });

  it('lets others in without identity when certificates are optional', async () => {
    const listener = await open({ ...mutual(), rejectUnauthorized: false });
    await nodeClient(listener, {});
    expect((await reception.next()).identity).toBeUndefined();
    await nodeClient(listener, pem(stranger.issue('d2', '/CN=sala-1', 'DNS:sala.casa')));
    expect((await reception.next(2)).identity).toBeUndefined();
    await nodeClient(listener, pem(device));
    expect((await reception.next(3)).identity?.name).toBe('sala-1');
  });

  it('asks for certificates also under another server name', async () => {
    const other = certificates.server('other-mutual', 'otra.casa');
    const listener = await open({ ...mutual(), sni: [{ serverName: 'otra.casa', ...other }] });
    await nodeClient(listener, { ...pem(device), servername: 'otra.casa' });
    expect((await reception.next()).identity?.name).toBe('sala-1');
    const foreign = pem(stranger.issue('d3', '/CN=sala-1', 'DNS:sala.casa'));
    const options = { ...foreign, servername: 'otra.casa', maxVersion: 'TLSv1.2' as const };
    await rejection(nodeClient(listener, options));
    expect(reception.transports).toHaveLength(1);
  });

  it.each(['TLSv1.2', 'TLSv1.3'] as const)('keeps the identity in a resumed session '
    + '(%s)', async (version) => {
    const listener = await open(mutual());
    const sessions: Buffer[] = [];
    const options = { ...pem(device), minVersion: version, maxVersion: version };
    const first = await nodeClient(listener, options);
    first.on('session', (session) => { sessions.push(session); }).resume();
    const transport = await reception.next();
    transport.write(Buffer.from('x'), () => {});
    await until('a ticket', () => sessions.length > 0 || first.getSession() !== undefined);
    if (version === 'TLSv1.3') await until('a ticket', () => sessions.length > 0);
    const session = sessions[0] ?? first.getSession();
    const second = await nodeClient(listener, { ...options, session });
    expect(second.isSessionReused()).toBe(true);
    expect((await reception.next(2)).identity?.name).toBe('sala-1');
    await listener.reload();
    const third = await nodeClient(listener, { ...options, session });
    expect(third.isSessionReused()).toBe(false);
  });

  it('splits alternative names as Node quotes them', () => {
    expect(splitAlternativeNames('DNS:a, IP Address:1.2.3.4')).toEqual(['DNS:a', 'IP '
      + 'Address:1.2.3.4']);
    expect(splitAlternativeNames('DNS:"a, DNS:admin", URI:x')).toEqual(['DNS:"a, '
      + 'DNS:admin"', 'URI:x']);
    expect(splitAlternativeNames('DNS:"q\\", b"')).toEqual(['DNS:"q\\", b"']);
    expect(splitAlternativeNames('')).toEqual([]);
  });
});

describe('pre-shared keys', () => {
  const keys = new Map([['sala', KEY]]);
  const nodePsk = (identity: string, psk: Buffer): ConnectionOptions => ({
    ciphers: 'PSK', maxVersion: 'TLSv1.2', checkServerIdentity: () => undefined,
    pskCallback: () => ({ identity, psk }),
  });

  it('gives the identity whose key was proven, to every client', async () => {
    const listener = await open({ psk: keys });
    await nodeClient(listener, nodePsk('sala', KEY));
    const expected = { via: 'psk', name: 'sala', alternativeNames: [] };
    expect((await reception.next()).identity).toEqual(expected);
    const client = await ours(listener, { psk: { identity: 'sala', key: KEY } });
    expect(client.kind).toBe('tls');
    expect((await reception.next(2)).identity).toEqual(expected);
    const child = spawn('openssl', ['s_client', '-quiet', '-connect', `${host}:${listener.port}`,
      '-psk_identity', 'sala', '-psk', KEY.toString('hex')], { stdio: 'pipe' });
    expect((await reception.next(3)).identity).toEqual(expected);
    child.kill();
  });

  it('refuses a wrong key and an unknown identity with the same alert', async () => {
    const listener = await open({ psk: keys });
    const wrong = await rejection(nodeClient(listener, nodePsk('sala', Buffer.alloc(16))));
    const unknown = await rejection(nodeClient(listener, nodePsk('nadie', KEY)));
    expect(wrong.code).toBe(unknown.code);
    expect((await reception.refused(1)).detail).toContain('"sala", known');
    expect((await reception.refused(2)).detail).toContain('"nadie", unknown');
    const error = await rejection(ours(listener, { psk: { identity: 'x', key: KEY } }));
    expect(error.code).toBe('NIDO_TRANSPORT_TLS_FAILED');
    expect(reception.transports).toHaveLength(0);
  });

  it('stands beside certificates, and nobody gets an identity by naming it', async () => {
    const listener = await open({ ...server, psk: keys });
    await nodeClient(listener, nodePsk('sala', KEY));
    expect((await reception.next()).identity?.name).toBe('sala');
    const plain = await nodeClient(listener, {});
    expect(plain.getProtocol()).toBe('TLSv1.2');
    expect((await reception.next(2)).identity).toBeUndefined();
    // Offers the identity without its key, with suites that let the handshake fall back to the
    // certificate.
    const liar = {
      ciphers: 'TLS_AES_256_GCM_SHA384:ECDHE-ECDSA-AES256-GCM-SHA384:PSK',
      pskCallback: () => ({ identity: 'sala', psk: Buffer.alloc(16) }),
    };
    await rejection(nodeClient(listener, liar));
    await rejection(nodeClient(listener, { ...liar, maxVersion: 'TLSv1.2' }));
    await reception.refused(2);
    expect(reception.transports).toHaveLength(2);
  });

  it('does not resume sessions, which would have no identity', async () => {
    const listener = await open({ psk: keys });
    const first = await nodeClient(listener, nodePsk('sala', KEY));
    await reception.next();
    const session = first.getSession();
    const second = await nodeClient(listener, { ...nodePsk('sala', KEY), session });
    expect(second.isSessionReused()).toBe(false);
    expect((await reception.next(2)).identity?.name).toBe('sala');
  });

  it('come from a file, from a function, and again on reload', async () => {
    const pskFile = certificates.path('keys.psk');
    writeFileSync(pskFile, `# devices\nsala:${KEY.toString('hex')}\n`);
    const listener = await open({
      pskFile,
      psk: (identity) => {
        if (identity === 'boom') throw new Error('look-up is broken');
        return identity === 'own' ? KEY : undefined;
      },
    });
    await nodeClient(listener, nodePsk('sala', KEY));
    await nodeClient(listener, nodePsk('own', KEY));
    await rejection(nodeClient(listener, nodePsk('boom', KEY)));
    writeFileSync(pskFile, `cocina:${KEY.toString('hex')}\n`);
    await listener.reload();
    await nodeClient(listener, nodePsk('cocina', KEY));
    await rejection(nodeClient(listener, nodePsk('sala', KEY)));
    expect((await reception.next(3)).identity?.name).toBe('cocina');
  });

  it('reads lines of identity and hexadecimal key', () => {
    const file = parsePskFile('a:00\r\n\n#x\nb:c:ff0A \n__proto__:01');
    expect(file).toEqual({
      ok: true,
      keys: new Map([
        ['a', Buffer.of(0)], ['b:c', Buffer.of(255, 10)], ['__proto__', Buffer.of(1)],
      ]),
    });
    expect(parsePskFile('a:0')).toMatchObject({ ok: false, line: 1 });
    expect(parsePskFile(':00')).toMatchObject({ ok: false, line: 1 });
    expect(parsePskFile('a:00\na:01')).toMatchObject({ ok: false, line: 2 });
  });
});

describe('reload', () => {
  function copyInto(name: string, pair: Pair): Pair {
    const copy = {
      certFile: certificates.path(`${name}.crt`), keyFile: certificates.path(`${name}.key`),
    };
    copyFileSync(pair.certFile, copy.certFile);
    copyFileSync(pair.keyFile, copy.keyFile);
    return copy;
  }

  it('shows the new certificate to new peers, under load, and drops nobody', async () => {
    const live = copyInto('live', server);
    const listener = await open(live);
    const options = { caFile: certificates.caFile, servername: 'localhost' };
    const sides: { client: Recorder; sent: number }[] = [];
    for (let index = 0; index < 10; index += 1) {
      sides.push({ client: Recorder.open(await ours(listener, options)), sent: 0 });
    }
    await reception.next(10);
    let loading = true;
    const load = (async () => {
      while (loading) {
        for (const [index, side] of sides.entries()) {
          reception.transports[index].write(Buffer.alloc(1_000, index), () => {});
          side.sent += 1_000;
        }
        await new Promise(setImmediate);
      }
    })();
    const serials = new Set<string>();
    for (let round = 0; round < 5; round += 1) {
      const next = certificates.issue(`round-${round}`, '/CN=localhost', 'DNS:localhost');
      copyInto('live', next);
      await listener.reload();
      const socket = await nodeClient(listener, {});
      const shown = new X509Certificate(socket.getPeerCertificate().raw).fingerprint;
      expect(shown).toBe(new X509Certificate(pem(next).cert).fingerprint);
      serials.add(shown);
    }
    loading = false;
    await load;
    expect(serials.size).toBe(5);
    await until('all arrived', () => sides.every(({ client, sent }) => client.bytes === sent));
    expect(sides.map(({ client }) => client.closed)).toEqual(new Array(10).fill(0));
  });

  it('changes nothing when a new file is wrong', async () => {
    const live = copyInto('fragile', server);
    const listener = await open(live);
    const before = (await nodeClient(listener, {})).getPeerCertificate().fingerprint;
    copyFileSync(device.keyFile, live.keyFile);
    const error = await rejection(listener.reload());
    expect(error.code).toBe('NIDO_LISTENER_TLS_KEY_MISMATCH');
    expect((await nodeClient(listener, {})).getPeerCertificate().fingerprint).toBe(before);
  });

  it('comes with a signal, to all listeners, whatever one of them says', async () => {
    const good = await open(copyInto('good', server));
    const live = copyInto('broken', server);
    const bad = await open(live);
    writeFileSync(live.certFile, 'broken');
    const reloaded: Listener[] = [];
    const failed: [string | undefined, Listener][] = [];
    const stop = reloadOnSignal([bad, good], {
      signal: 'SIGUSR2',
      reloaded: (listener) => { reloaded.push(listener); },
      failed: (error: { code?: string } & Error, listener) => {
        failed.push([error.code, listener]);
      },
    });
    // Not `process.kill`: jest's `process` is a copy, to which the system's signals do not come.
    process.emit('SIGUSR2', 'SIGUSR2');
    await until('both', () => reloaded.length + failed.length === 2);
    stop();
    expect(reloaded).toEqual([good]);
    expect(failed).toEqual([['NIDO_LISTENER_TLS_CERTIFICATE_BAD', bad]]);
    expect(process.listenerCount('SIGUSR2')).toBe(0);
  });
});

