import { describe, expect, it, jest } from '@jest/globals';
import { connectionLine, printable, redact, redactText, redactingLogger } from '../../lib/guard/index.js';

const token = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm5hIn0.c2lnbmF0dXJl';

describe('what is written to a log', () => {
  it.each([
    `login failed for ${token} at 12:00`, 'https://user:hunter2@host/path', 'GET /auth?password=hunter2&x=1',
    'bad line: anna:$7$101$hunter2$hunter2==', 'authorization: Bearer hunter2.hunter2', 'password: "hunter2 and more"',
    'SCRAM-SHA-256$4096:hunter2$hunter2:hunter2', '{"token":"hunter2"}', 'secret=hunter2, user=anna',
  ])('holds no secret out of %j', (text) => {
    const written = redactText(text);
    expect(written).toContain('[redacted]');
    expect(written).not.toMatch(/hunter2|eyJ/);
  });

  it('keeps what is no secret', () => {
    const text = 'client "pump-7" (10.0.0.7) may not publish to a/b/token: code 0x87';
    expect(redactText('connected to mqtt://host:1883/path?x=1')).toBe('connected to mqtt://host:1883/path?x=1');
    expect(redactText(text)).toContain('client "pump-7" (10.0.0.7) may not publish to a/b/');
  });

  it('holds no secret out of objects, whatever they are nested in', () => {
    const request = {
      clientId: 'a', password: Buffer.from('hunter2'), headers: { authorization: 'hunter2' },
      list: [{ apiKey: 'hunter2' }, new Map([['token', 'hunter2']])], payload: new Uint8Array(5),
      error: new Error('cannot use https://u:hunter2@host', { cause: { secret: 'hunter2' } }),
    };
    const text = JSON.stringify(redact(request));
    expect(text).not.toContain('hunter2');
    expect(text).toContain('"clientId":"a"');
    expect(text).toContain('[5 bytes]');
  });

  it('is bounded for what refers to itself, and has no way into prototypes', () => {
    const circle: Record<string, unknown> = { name: 'x' };
    circle.self = circle;
    expect(JSON.stringify(redact(circle)).length).toBeLessThan(500);
    const hostile = redact(JSON.parse('{"__proto__":{"polluted":1}}')) as object;
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    expect(Object.keys(hostile)).toEqual(['__proto__']);
  });

  it('is one line, whatever a client calls itself', () => {
    const line = connectionLine('connected', {
      clientId: 'x\r\n2026 admin logged in\u202e\u0000', username: 'u"', remoteAddress: '::1', reasonCode: 0,
    });
    for (const evil of ["\r", "\n", "\u0000", "\u202e"]) expect(line).not.toContain(evil);
    expect(line).toContain('code=0x00');
    expect(printable('y'.repeat(100_000)).length).toBeLessThan(600);
  });

  it('goes through the logger that was given, with the levels that it has', () => {
    const error = jest.fn();
    const logger = redactingLogger({ error, warn: jest.fn() });
    logger.error('token=hunter2', { password: 'hunter2' });
    expect(JSON.stringify(error.mock.calls)).not.toContain('hunter2');
    expect(logger.debug).toBeUndefined();
  });
});
