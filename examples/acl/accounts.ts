import { Injectable } from '@nestjs/common';
import { timingSafeEqual } from 'node:crypto';

export interface Account {
  readonly password: string;
  readonly roles: readonly string[];
  /** The room of a device. */
  readonly room?: string;
}

/** Stands for your database: any provider will do, and it may answer with a promise. */
@Injectable()
export class Accounts {
  private readonly accounts = new Map<string, Account>([
    ['termometro', { password: 'frio', roles: ['device'], room: 'sala' }],
    ['telefono', { password: 'mirar', roles: ['viewer'] }],
    ['ana', { password: 'duena', roles: ['viewer', 'owner'] }],
  ]);

  async find(username: string): Promise<Account | undefined> {
    return this.accounts.get(username);
  }

  hasPassword(account: Account, password: Uint8Array): boolean {
    const expected = Buffer.from(account.password);
    return expected.length === password.length && timingSafeEqual(expected, password);
  }
}
