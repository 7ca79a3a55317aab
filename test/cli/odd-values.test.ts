/** Numbers that no flag takes, said to ours and to mosquitto's tools. */
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Stage, freePort, hasMosquitto } from '../client/support/servers.js';
import { run } from './nidomq-process.js';
import { say } from './recorder.js';

jest.setTimeout(180_000);

const stage = new Stage();
afterEach(() => stage.stop());

const HOST = ['-h', '127.0.0.1'];

/** What the tool takes besides the flag in question. */
function wordsOf(tool: string): string[] {
  return tool === 'pub' ? [...HOST, '-t', 't', '-m', 'x'] : [...HOST, '-t', 't'];
}

type Row = readonly [
  tool: string, name: string, values: readonly string[], allowed: string, more?: readonly string[],
];

const REFUSED: readonly Row[] = [
  ['sub', '-W', ['0', '-1', 'abc', ''], 'seconds, 0.001 to 2000000'],
  ['sub', '-C', ['0', '-1', 'abc', ''], 'a whole number from 1 to'],
  ['sub', '-k', ['0', '4', '-1', '65536', 'abc'], 'a whole number from 5 to 65535'],
  ['pub', '-k', ['0', '4', '-1', '65536', 'abc'], 'a whole number from 5 to 65535'],
  ['sub', '-q', ['3', '-1'], 'a whole number from 0 to 2'],
  ['pub', '-q', ['3', '-1'], 'a whole number from 0 to 2'],
  ['sub', '-p', ['-1', '65536'], 'a whole number from 1 to 65535'],
  ['sub', '-p', ['-1', '65536'], 'a whole number from 1 to 65535', ['--unix', '/nowhere']],
  ['sub', '-M', ['0', '-1', 'abc'], 'a whole number from 1 to 65535'],
  ['sub', '-x', ['-2', '4294967296', 'abc', '1.5'], 'a whole number from -1 to 4294967295'],
  ['sub', '--will-qos', ['3', '-1'], 'a whole number from 0 to 2', ['--will-topic', 'w']],
  ['sub', '--random-filter', ['0', '0.05', '-1', 'abc'], 'percent, 0.1 or more'],
  ['pub', '--repeat', ['0', '-1', 'abc'], 'a whole number from 1 to 1000000000'],
  ['pub', '--repeat-delay', ['-1'], 'seconds, 0 to 2000000'],
];

const TAKEN: readonly Row[] = [
  ['sub', '-W', ['1'], ''],
  ['sub', '-C', ['1'], ''],
  ['sub', '-k', ['5', '65535'], ''],
  ['sub', '-q', ['0', '2'], ''],
  ['sub', '-M', ['1', '65535'], ''],
  ['sub', '-x', ['-1', '0', '4294967295'], '', ['-i', 'me']],
  ['sub', '--will-qos', ['2'], '', ['--will-topic', 'w']],
  ['sub', '--random-filter', ['0.1', '100', '101'], ''],
  ['pub', '--repeat', ['1'], ''],
  ['pub', '--repeat-delay', ['0', '1.5'], ''],
];

function linesOf(rows: readonly Row[]): [string, string, string, string, readonly string[]][] {
  return rows.flatMap(([tool, name, values, allowed, more = []]) => values.map(
    (value) => [tool, name, value, allowed, more] as [string, string, string, string, string[]]));
}

const mosquitto = hasMosquitto ? it : it.skip;
/** Nothing is wrong with what it was asked: only nobody is there. */
const NOBODY_THERE = /refused|No such file/;

describe('a number that the flag does not take', () => {
  it.each(linesOf(REFUSED))('%s %s %p', async (tool, name, value, allowed, more) => {
    const { status, errors } = await say(tool, ...wordsOf(tool), ...more, name, value);
    const why = `${name} ${value}: must be ${allowed}`;
    expect({ status, errors }).toEqual({ status: 2, errors: expect.stringContaining(why) });
  });
  mosquitto.each(linesOf(REFUSED))('is one of mosquitto_%s %s %p, too (skipped without it)', async (
    tool, name, value, _, more,
  ) => {
    const words = [...wordsOf(tool), ...more, name, value];
    const { status, err } = await run(stage, `mosquitto_${tool}`, words);
    expect(status).toBe(1);
    expect(err).not.toMatch(NOBODY_THERE);
  });
});

describe('a number at the bound of the flag', () => {
  it.each(linesOf(TAKEN))('%s %s %p', async (tool, name, value, _, more) => {
    const port = ['-p', `${await freePort()}`];
    const { status, errors } = await say(tool, ...wordsOf(tool), ...port, ...more, name, value);
    expect({ status, errors })
      .toEqual({ status: 1, errors: expect.stringContaining('nobody listens there') });
  });
  mosquitto.each(linesOf(TAKEN))('is one of mosquitto_%s %s %p, too (skipped without it)', async (
    tool, name, value, _, more,
  ) => {
    const port = ['-p', `${await freePort()}`];
    const words = [...wordsOf(tool), ...port, ...more, name, value];
    const { status, err } = await run(stage, `mosquitto_${tool}`, words);
    expect({ status, err }).toEqual({ status: 1, err: expect.stringMatching(NOBODY_THERE) });
  });
});
