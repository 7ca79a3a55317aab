import { Injectable } from '@nestjs/common';
import { MqttAuthenticator } from 'nidomq/nest';
import type { AuthResult, ConnectInfo, NidoAuthenticator } from 'nidomq/nest';
import { Accounts } from './accounts.js';

const BAD_USER_NAME_OR_PASSWORD = 0x86;

/** Decides who comes in. An ordinary provider: what it needs is injected. */
@Injectable()
@MqttAuthenticator()
export class DoorKeeper implements NidoAuthenticator {
  constructor(private readonly accounts: Accounts) {}

  async authenticate({ username = '', password }: ConnectInfo): Promise<AuthResult> {
    const account = await this.accounts.find(username);
    if (account === undefined || password === undefined) return refused();
    if (!this.accounts.hasPassword(account, password)) return refused();
    return { ok: true, username, roles: account.roles, claims: { room: account.room } };
  }
}

function refused(): AuthResult {
  return { ok: false, reasonCode: BAD_USER_NAME_OR_PASSWORD };
}
