/**
 * Certificates and keys: read from files, checked one by one so that an error can name the culprit,
 * and made into what Node wants. Used by doors and by the connecting side.
 */
import { X509Certificate, createPrivateKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import type { SecureContext, SecureContextOptions } from 'node:tls';
import { ListenerError, reasonOf } from './listener-error.js';
import type { ListenerErrorCode } from './listener-error.js';

/**
 * Node's own options of a secure context; each of the big ones may also be given as a file, which
 * `reload` reads again.
 */
export interface TlsMaterialOptions extends Pick<SecureContextOptions,
  'ca' | 'cert' | 'ciphers' | 'crl' | 'dhparam' | 'ecdhCurve' | 'honorCipherOrder' | 'key'
  | 'maxVersion' | 'minVersion' | 'passphrase' | 'pfx' | 'secureOptions' | 'sigalgs'> {
  readonly keyFile?: string;
  readonly certFile?: string;
  readonly caFile?: string | readonly string[];
  readonly crlFile?: string | readonly string[];
  readonly pfxFile?: string;
}

export interface TlsMaterial {
  /** For `tls.createServer`, `setSecureContext`, `tls.connect`. */
  readonly options: SecureContextOptions;
  readonly context: SecureContext;
}

const TLS_VERSION_MIN = 'TLSv1.2';
const PEM_CERTIFICATE =
  /-----BEGIN ((?:TRUSTED |X509 )?CERTIFICATE)-----[^-]*-----END \1-----/g;

/** `where` names the door or the connection in messages. */
export async function loadTlsMaterial(
  given: TlsMaterialOptions, where: string,
): Promise<TlsMaterial> {
  const { keyFile, certFile, caFile, crlFile, pfxFile, ...inline } = given;
  const options: SecureContextOptions = { minVersion: TLS_VERSION_MIN, ...dropUndefined(inline) };
  if (keyFile !== undefined) options.key = await readNamed('keyFile', keyFile, where);
  if (certFile !== undefined) options.cert = await readNamed('certFile', certFile, where);
  if (pfxFile !== undefined) options.pfx = await readNamed('pfxFile', pfxFile, where);
  if (caFile !== undefined) options.ca = await readAll('caFile', caFile, where);
  if (crlFile !== undefined) options.crl = await readAll('crlFile', crlFile, where);
  checkPair(options, given, where);
  checkAuthorities(options, given, where);
  try {
    return { options, context: createSecureContext(options) };
  } catch (cause) {
    throw new ListenerError('NIDO_LISTENER_TLS_OPTIONS_BAD',
      `${where}: OpenSSL does not take these TLS options: ${reasonOf(cause)}. Check pfx, `
      + 'passphrase, ciphers, ecdhCurve, sigalgs, dhparam and crl.', { cause });
  }
}

function dropUndefined<T extends object>(options: T): Partial<T> {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as Partial<T>;
}

/** Whether there is something that a door could show: a certificate, or a bundle that holds one. */
export function hasCertificate(options: TlsMaterialOptions): boolean {
  const { cert, certFile, pfx, pfxFile } = options;
  return [cert, certFile, pfx, pfxFile].some((value) => value !== undefined);
}

export async function readNamed(option: string, path: string, where: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new ListenerError('NIDO_LISTENER_FILE_UNREADABLE',
      `${where}: cannot read ${option} ${path}: ${reasonOf(cause)}. Check the path, and that this `
        + 'user may read it.',
      { cause });
  }
}

function readAll(
  option: string, paths: string | readonly string[], where: string,
): Promise<Buffer[]> {
  const list = typeof paths === 'string' ? [paths] : paths;
  return Promise.all(list.map((path) => readNamed(option, path, where)));
}

/**
 * Lists (several keys and certificates, for RSA and EC at once) are left to OpenSSL, which pairs
 * them itself.
 */
function checkPair(options: SecureContextOptions, given: TlsMaterialOptions, where: string): void {
  const certName = given.certFile === undefined ? 'cert' : `certFile ${given.certFile}`;
  const keyName = given.keyFile === undefined ? 'key' : `keyFile ${given.keyFile}`;
  const certificate = parseCertificate(options.cert, certName, where);
  const key = parseKey(options, keyName, where);
  if (options.pfx === undefined && (options.cert === undefined) !== (options.key === undefined)) {
    const missing = options.cert === undefined ? 'certificate (certFile or cert)' : 'key (keyFile '
      + 'or key)';
    throw new ListenerError('NIDO_LISTENER_TLS_CERTIFICATE_MISSING',
      `${where}: ${options.cert === undefined ? keyName : certName} is given without its `
        + `${missing}.`);
  }
  if (certificate !== undefined && key !== undefined && !certificate.checkPrivateKey(key)) {
    throw new ListenerError('NIDO_LISTENER_TLS_KEY_MISMATCH',
      `${where}: ${keyName} does not belong to ${certName} (subject `
      + `${printable(certificate.subject)}). Give the key that this certificate was made from; in `
      + 'a chain the own certificate comes first.');
  }
}

function parseCertificate(
  cert: SecureContextOptions['cert'], name: string, where: string,
): X509Certificate | undefined {
  if (cert === undefined || Array.isArray(cert)) return undefined;
  return attempt(() => new X509Certificate(cert), 'NIDO_LISTENER_TLS_CERTIFICATE_BAD',
    `${where}: ${name} does not hold a certificate in PEM format`);
}

function parseKey(
  options: SecureContextOptions, name: string, where: string,
): KeyObject | undefined {
  const { key, passphrase } = options;
  if (key === undefined || Array.isArray(key)) return undefined;
  return attempt(() => createPrivateKey({ key, passphrase }), 'NIDO_LISTENER_TLS_KEY_BAD',
    `${where}: ${name} does not hold a private key in PEM format that can be opened `
    + `${passphrase === undefined ? 'without a passphrase' : 'with the given passphrase'}`);
}

function checkAuthorities(
  options: SecureContextOptions, given: TlsMaterialOptions, where: string,
): void {
  if (options.ca === undefined) return;
  const sources = Array.isArray(options.ca) ? options.ca : [options.ca];
  const names = given.caFile === undefined ? [] : [given.caFile].flat();
  sources.forEach((source, index) => {
    const name = names[index] === undefined ? 'ca' : `caFile ${names[index]}`;
    const blocks = source.toString().match(PEM_CERTIFICATE) ?? [source];
    for (const block of blocks) {
      attempt(() => new X509Certificate(block), 'NIDO_LISTENER_TLS_CA_BAD',
        `${where}: ${name} does not hold certificates in PEM format`);
    }
  });
}

function attempt<T>(action: () => T, code: ListenerErrorCode, message: string): T {
  try {
    return action();
  } catch (cause) {
    throw new ListenerError(code, `${message} (OpenSSL says: ${reasonOf(cause)}).`, { cause });
  }
}

function printable(subject: string | undefined): string {
  return JSON.stringify((subject ?? '').replaceAll('\n', ', '));
}
