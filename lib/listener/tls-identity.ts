/** Who a TLS peer proved to be. */
import type { TLSSocket } from 'node:tls';
import { provenPskIdentity } from './pre-shared-keys.js';
import type { TransportIdentity } from './transport.js';

/** Undefined when the peer showed nothing, or something that was not verified. */
export function tlsIdentity(socket: TLSSocket): TransportIdentity | undefined {
  const name = provenPskIdentity(socket);
  if (name !== undefined) return { via: 'psk', name, alternativeNames: [] };
  if (!socket.authorized) return undefined;
  const certificate = socket.getPeerCertificate();
  // A handshake without a certificate (pre-shared key) gives an empty object.
  if (certificate?.subject === undefined) return undefined;
  return {
    via: 'certificate',
    name: firstOf(certificate.subject.CN),
    alternativeNames: splitAlternativeNames(certificate.subjectaltname ?? ''),
  };
}

/**
 * A subject may have several Common Names; Node then gives an array. The first one counts, as in
 * OpenSSL.
 */
function firstOf(value: unknown): string {
  const first: unknown = Array.isArray(value) ? value[0] : value;
  return typeof first === 'string' ? first : '';
}

/**
 * Node prints `DNS:a, URI:b`, and names that hold a comma or a quote as a JSON string: `DNS:"a,
 * b"`.
 */
export function splitAlternativeNames(text: string): string[] {
  const names: string[] = [];
  let start = 0;
  let quoted: '"' | '' = '';
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (quoted !== '' && character === '\\') at += 1;
    else if (character === '"') quoted = quoted === '' ? '"' : '';
    else if (character === ',' && quoted === '') {
      names.push(text.slice(start, at));
      start = text[at + 1] === ' ' ? at + 2 : at + 1;
    }
  }
  if (start < text.length) names.push(text.slice(start));
  return names;
}
