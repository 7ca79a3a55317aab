/**
 * The TLS half of a door: server options, contexts by server name, pre-shared keys, and all of it
 * again on reload.
 */
import { constants as cryptoConstants } from 'node:crypto';
import type { SecureContext, SecureContextOptions, Server, TLSSocket, TlsOptions } from 'node:tls';
import { DEFAULT_CIPHERS } from 'node:tls';
import { ListenerError } from './listener-error.js';
import { HANDSHAKE_DEADLINE_MS } from './listener-limits.js';
import type { ListenerOptions, SniContextOptions, TlsListenerOptions } from './listener-options.js';
import {
  PSK_CIPHERS, PSK_TLS_VERSION_MAX, answerPskIdentity, lookupOf, parsePskFile,
} from './pre-shared-keys.js';
import type { PreSharedKeyLookup } from './pre-shared-keys.js';
import { hasCertificate, loadTlsMaterial, readNamed } from './tls-material.js';
import type { TlsMaterialOptions } from './tls-material.js';

const WILDCARD = '*.';
const OWN_OF_EACH_NAME = [
  'cert', 'certFile', 'key', 'keyFile', 'passphrase', 'pfx', 'pfxFile',
] as const;
const MATERIAL = [
  ...OWN_OF_EACH_NAME, 'ca', 'caFile', 'ciphers', 'crl', 'crlFile', 'dhparam', 'ecdhCurve',
  'honorCipherOrder', 'maxVersion', 'minVersion', 'secureOptions', 'sigalgs',
] as const;

type Mutable<T> = { -readonly [Name in keyof T]: T[Name] };

/** Everything that `reload` replaces, at one stroke. */
interface Loaded {
  readonly options: SecureContextOptions;
  readonly contexts: ReadonlyMap<string, SecureContext>;
  readonly keys?: PreSharedKeyLookup;
}

export class TlsDoor {
  #loaded?: Loaded;

  constructor(
    private readonly options: ListenerOptions & { readonly tls: TlsListenerOptions },
    private readonly where: string,
  ) {}

  /** Reads everything; throws a ListenerError and changes nothing when something is wrong. */
  async load(): Promise<void> {
    const tls = this.options.tls;
    const keys = await loadKeys(tls, this.where);
    const material = forKeys(materialOf(tls), keys);
    const { options } = await loadTlsMaterial(material, this.where);
    const contexts = new Map<string, SecureContext>();
    for (const sni of tls.sni ?? []) {
      const where = `${this.where}, server name ${sni.serverName}`;
      const { context } = await loadTlsMaterial(inheriting(sni, material), where);
      contexts.set(sni.serverName.toLowerCase(), context);
    }
    this.#loaded = { options, contexts, keys };
  }

  /**
   * Connections that are open keep what they agreed on; tickets of the old context are worth
   * nothing afterwards.
   */
  async reload(server: Server): Promise<void> {
    await this.load();
    server.setSecureContext((this.#loaded as Loaded).options);
  }

  serverOptions(): TlsOptions {
    const { tls, ws, handshakeDeadlineMs } = this.options;
    const loaded = this.#loaded as Loaded;
    return {
      ...loaded.options,
      requestCert: tls.requestCert ?? false,
      rejectUnauthorized: tls.rejectUnauthorized ?? true,
      ALPNProtocols: [...tls.ALPNProtocols ?? [ws === undefined ? 'mqtt' : 'http/1.1']],
      handshakeTimeout: tls.handshakeTimeout ?? handshakeDeadlineMs ?? HANDSHAKE_DEADLINE_MS,
      SNICallback: (serverName, done) => done(null, this.#contextFor(serverName)),
      ...loaded.keys === undefined ? {} : {
        pskIdentityHint: tls.pskIdentityHint,
        pskCallback: (socket: TLSSocket, identity: string) =>
          answerPskIdentity(socket, identity, (name) => this.#loaded?.keys?.(name)),
      },
    };
  }

  #contextFor(serverName: string): SecureContext | undefined {
    const contexts = (this.#loaded as Loaded).contexts;
    const name = serverName.toLowerCase();
    const dot = name.indexOf('.');
    const parent = dot < 0 ? '' : name.slice(dot + 1);
    return contexts.get(name) ?? contexts.get(`${WILDCARD}${parent}`);
  }
}

/**
 * A context for another name has its own certificate; trust, versions and suites stay the door's
 * unless it says so.
 */
function inheriting(sni: SniContextOptions, door: TlsMaterialOptions): TlsMaterialOptions {
  const inherited: Mutable<TlsMaterialOptions> = { ...door };
  for (const name of OWN_OF_EACH_NAME) delete inherited[name];
  if (sni.ca !== undefined || sni.caFile !== undefined) {
    delete inherited.ca;
    delete inherited.caFile;
  }
  return { ...inherited, ...materialOf(sni) };
}

/** Only what a secure context takes: the rest belongs to the server. */
function materialOf(options: TlsMaterialOptions): TlsMaterialOptions {
  const material: Mutable<TlsMaterialOptions> = {};
  for (const name of MATERIAL) {
    if (options[name] !== undefined) Object.assign(material, { [name]: options[name] });
  }
  return material;
}

/**
 * Tickets would bring a session back without asking for the key, and so without an identity: they
 * are off.
 */
function forKeys(
  material: TlsMaterialOptions, keys: PreSharedKeyLookup | undefined,
): TlsMaterialOptions {
  if (keys === undefined) return material;
  const others = hasCertificate(material) ? `:${DEFAULT_CIPHERS.replace(/:!PSK\b/, '')}` : '';
  return {
    ...material,
    ciphers: material.ciphers ?? `${PSK_CIPHERS}${others}`,
    maxVersion: PSK_TLS_VERSION_MAX,
    secureOptions: (material.secureOptions ?? 0) | cryptoConstants.SSL_OP_NO_TICKET,
  };
}

async function loadKeys(
  tls: TlsListenerOptions, where: string,
): Promise<PreSharedKeyLookup | undefined> {
  const own = tls.psk === undefined ? undefined : lookupOf(tls.psk);
  if (tls.pskFile === undefined) return own;
  const file = parsePskFile((await readNamed('pskFile', tls.pskFile, where)).toString('utf8'));
  if (!file.ok) {
    throw new ListenerError('NIDO_LISTENER_PSK_BAD', `${where}: pskFile ${tls.pskFile}, line `
      + `${file.line}: ${file.why}. Each line is \`identity:key\`, the key in hexadecimal.`);
  }
  return (identity) => own?.(identity) ?? file.keys.get(identity);
}
