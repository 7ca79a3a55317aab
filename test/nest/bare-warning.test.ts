/** In a file of its own: the warning comes once in a process. */
import { afterEach, expect, it } from '@jest/globals';
import { Module } from '@nestjs/common';
import { closeAll, startBare } from './kit.js';

afterEach(closeAll);

it('a bare strategy warns once that it cannot know when the application is bootstrapped', async () => {
  @Module({})
  class Empty {}
  const lines: string[] = [];
  for (let time = 0; time < 2; time += 1) {
    const { log } = await startBare(Empty, 'host');
    lines.push(...log.matching(/^warn a NidoStrategy without NidoModule.*onModuleInit/));
  }
  expect(lines).toHaveLength(1);
});
