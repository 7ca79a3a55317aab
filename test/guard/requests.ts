import type { ConnectRequest } from '../../lib/broker/hooks.js';

/** A CONNECT of nobody in particular; the password is given as text. */
export function connectRequest(
  fields: Partial<Omit<ConnectRequest, 'password'>> & { readonly password?: string } = {},
): ConnectRequest {
  const { password, ...rest } = fields;
  return {
    clientId: 'client', protocolVersion: 5, cleanStart: true, keepAliveSeconds: 60,
    remoteAddress: '127.0.0.1', remotePort: 40_000, transport: 'tcp', listener: 'tcp://127.0.0.1:1883',
    userProperties: [], ...rest, password: password === undefined ? undefined : Buffer.from(password),
  };
}
