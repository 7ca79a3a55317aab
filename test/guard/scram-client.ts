/** The client's side of SCRAM-SHA-256, written from RFC 5802 alone. */
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';

export interface ClientProof {
  readonly final: string;
  readonly verifier: string;
}

export function clientFinal(
  password: string, bare: string, serverFirst: string, header = 'n,,',
): ClientProof {
  const fields = new Map(serverFirst.split(',').map((part) => [part[0], part.slice(2)]));
  const salted = pbkdf2Sync(
    password, Buffer.from(fields.get('s') ?? '', 'base64'), Number(fields.get('i')), 32, 'sha256',
  );
  const hmac = (key: Buffer, data: string): Buffer =>
    createHmac('sha256', key).update(data).digest();
  const clientKey = hmac(salted, 'Client Key');
  const without = `c=${Buffer.from(header).toString('base64')},r=${fields.get('r')}`;
  const message = `${bare},${serverFirst},${without}`;
  const signature = hmac(createHash('sha256').update(clientKey).digest(), message);
  const proof = Buffer.from(clientKey.map((byte, at) => byte ^ signature[at]));
  return {
    final: `${without},p=${proof.toString('base64')}`,
    verifier: `v=${hmac(hmac(salted, 'Server Key'), message).toString('base64')}`,
  };
}
