import { expect, it } from '@jest/globals';
import { tokenAfter } from '../../lib/broker/publisher.js';

it('tokens of messages begin again where 32 bits end, and none is 0', () => {
  expect([0, 1, 0xffff_fffe, 0xffff_ffff].map(tokenAfter)).toEqual([1, 2, 0xffff_ffff, 1]);
});
