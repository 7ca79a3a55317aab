import { describe, expect, it } from '@jest/globals';
import type { EnhancedExchange, EnhancedStep } from '../../lib/broker/hooks.js';
import { ScramAuthenticator, hashPassword, parsePasswordHash } from '../../lib/guard/index.js';
import type { ScramCredential } from '../../lib/guard/index.js';
import { scramKeys } from '../../lib/guard/secret/password-hash.js';
import { saslprep } from '../../lib/guard/secret/saslprep.js';
import { connectRequest } from './requests.js';
import { clientFinal } from './scram-client.js';

const text = (step: EnhancedStep): string =>
  ('data' in step && step.data ? Buffer.from(step.data).toString() : step.kind);

async function credentialOf(password: string): Promise<ScramCredential> {
  const hash = await hashPassword(Buffer.from(password), { format: 'scram-sha-256', iterations: 4096 });
  return parsePasswordHash(hash) as ScramCredential;
}

async function serverFor(users: Record<string, string>): Promise<ScramAuthenticator> {
  const known = new Map<string, ScramCredential>();
  for (const [name, password] of Object.entries(users)) known.set(name, await credentialOf(password));
  return new ScramAuthenticator({
    find: (name) => {
      const credential = known.get(name);
      return credential && { credential, roles: ['tester'] };
    },
  });
}

async function login(exchange: EnhancedExchange, name: string, password: string): Promise<EnhancedStep> {
  const bare = `n=${name},r=abcdef`;
  const first = await exchange.step(Buffer.from(`n,,${bare}`));
  if (first.kind !== 'continue') return first;
  return exchange.step(Buffer.from(clientFinal(password, bare, text(first)).final));
}

describe('SCRAM-SHA-256', () => {
  it('gives the answers of the example in RFC 7677', async () => {
    const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64');
    const keys = await scramKeys(Buffer.from('pencil'), salt, 4096);
    const credential: ScramCredential = { kind: 'scram-sha-256', salt, iterations: 4096, ...keys };
    const server = new ScramAuthenticator({
      find: (name) => (name === 'user' ? { credential } : undefined),
      serverNonce: () => '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
    });
    const exchange = server.begin(connectRequest());
    const first = await exchange.step(Buffer.from('n,,n=user,r=rOprNGfwEbeRWgbNEkqO'));
    expect(text(first)).toBe(
      'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
    );
    const final = await exchange.step(Buffer.from(
      'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,'
      + 'p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
    ));
    expect(text(final)).toBe('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=');
    expect(final).toMatchObject({ kind: 'success', ok: true, username: 'user' });
  });

  it('lets in who knows the password and proves to the client that the server knows it too', async () => {
    const server = await serverFor({ anna: 'segreta' });
    const exchange = server.begin(connectRequest());
    const first = await exchange.step(Buffer.from('n,,n=anna,r=abc'));
    const mine = clientFinal('segreta', 'n=anna,r=abc', text(first));
    const final = await exchange.step(Buffer.from(mine.final));
    expect(final).toMatchObject({ kind: 'success', username: 'anna', roles: ['tester'] });
    expect(text(final)).toBe(mine.verifier);
  });

  it('keeps out a wrong password, and an unknown user at the same step with a stable salt', async () => {
    const server = await serverFor({ anna: 'segreta' });
    expect(await login(server.begin(connectRequest()), 'anna', 'Segreta')).toMatchObject({ kind: 'failure' });
    expect(await login(server.begin(connectRequest()), 'nobody', 'segreta')).toMatchObject({ kind: 'failure' });
    const salts = await Promise.all([1, 2].map(async () => {
      const step = await server.begin(connectRequest()).step(Buffer.from('n,,n=nobody,r=x'));
      return /s=([^,]*)/.exec(text(step))?.[1];
    }));
    expect(salts[0]).toBe(salts[1]);
  });

  it('keeps out another identity than the CONNECT packet names', async () => {
    const server = await serverFor({ anna: 'segreta', bruno: 'segreta' });
    const exchange = server.begin(connectRequest({ username: 'bruno' }));
    expect(await login(exchange, 'anna', 'segreta')).toMatchObject({ kind: 'failure' });
    const asOther = server.begin(connectRequest());
    expect(await asOther.step(Buffer.from('n,a=bruno,n=anna,r=x'))).toMatchObject({ kind: 'failure' });
  });

  it.each([
    ['nothing', ''], ['rubbish', '\xff\xfe'], ['a wish for channel binding', 'p=tls-unique,,n=anna,r=x'],
    ['an extension that must be understood', 'n,,m=1,n=anna,r=x'], ['a bad escape', 'n,,n=an=41na,r=x'],
    ['an empty nonce', 'n,,n=anna,r='], ['an empty name', 'n,,n=,r=x'],
  ])('refuses %s', async (_, message) => {
    const server = await serverFor({ anna: 'segreta' });
    const step = await server.begin(connectRequest()).step(Buffer.from(message, 'latin1'));
    expect(step).toMatchObject({ kind: 'failure' });
  });

  it('refuses a replayed proof, a changed nonce, a changed binding, and a step too many', async () => {
    const server = await serverFor({ anna: 'segreta' });
    const open = async (): Promise<{ exchange: EnhancedExchange; final: string }> => {
      const exchange = server.begin(connectRequest());
      const first = await exchange.step(Buffer.from('n,,n=anna,r=abc'));
      return { exchange, final: clientFinal('segreta', 'n=anna,r=abc', text(first)).final };
    };
    const old = await open();
    const attempts = await Promise.all([open(), open(), open()]);
    const changed = [
      old.final, attempts[1].final.replace('r=abc', 'r=abd'), attempts[2].final.replace('c=biws', 'c=eSws'),
    ];
    for (const [at, { exchange }] of attempts.entries()) {
      expect(await exchange.step(Buffer.from(changed[at]))).toMatchObject({ kind: 'failure' });
    }
    expect(await old.exchange.step(Buffer.from(old.final))).toMatchObject({ kind: 'success' });
    expect(await old.exchange.step(Buffer.from(old.final))).toMatchObject({ kind: 'failure' });
  });
});

describe('SASLprep', () => {
  it.each([
    ['I\u00ADX', 'IX'], ['user', 'user'], ['USER', 'USER'], ['\u00AA', 'a'], ['\u2168', 'IX'],
    ['\u0007', undefined], ['\u0627\u0031', undefined], ['a\u3000b', 'a b'],
  ])('turns %j into %j, as RFC 4013 says', (given, expected) => {
    expect(saslprep(given)).toBe(expected);
  });
});
