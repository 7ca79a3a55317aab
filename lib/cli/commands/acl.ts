/** `nidomq acl test`: what the rules say to one question, and which of them says it. */
import type { AclAnswer, AclQuestion, AuthorizationConfig } from '../../guard/index.js';
import type { RegisterCommand } from '../command.js';
import { CliError, CommandEnded, EXIT_FAILED } from '../cli-error.js';
import { readSettings } from '../settings.js';

interface AclFlags {
  readonly config?: string;
  readonly aclFile?: string;
  readonly role?: readonly string[];
  readonly qos?: string;
  readonly retain?: true;
}

const ACTIONS = ['publish', 'subscribe', 'receive'] as const;

export const registerAcl: RegisterCommand = (program, output) => {
  const acl = program.command('acl').description('ask the rules of who may do what');
  acl
    .command('test')
    .description('may this client do that, and which rule decided; ends with 1 when it may not')
    .argument('<client>', 'Client Identifier')
    .argument('<user>', 'user name; - for a client without one')
    .argument('<action>', 'publish, subscribe or receive')
    .argument('<topic>', 'a Topic Name, or a Topic Filter for subscribe')
    .option('--config <file>', 'configuration with an "authorization"')
    .option('--acl-file <file>', 'rules in the format of mosquitto\'s acl_file')
    .option('--role <name>', 'a role of the user, may be repeated',
      (role: string, before: readonly string[] = []) => [...before, role])
    .option('--qos <0|1|2>', 'for rules about QoS (default: 0)')
    .option('--retain', 'for rules about retained messages')
    .action(async (
      clientId: string, user: string, action: string, topic: string, flags: AclFlags,
    ) => {
      const username = user === '-' ? undefined : user;
      const question: AclQuestion = {
        clientId, username, topic, action: actionOf(action), roles: flags.role,
        qos: qosOf(flags), retain: flags.retain ? 'retained' : 'plain',
      };
      const { verdict, decidedBy } = await answer(question, flags);
      output.line(`${verdict}: ${decidedBy}`);
      if (verdict === 'deny') throw new CommandEnded(EXIT_FAILED);
    });
};

async function answer(question: AclQuestion, flags: AclFlags): Promise<AclAnswer> {
  const { config, aclFile } = flags;
  const { guard } = await readSettings({ config, aclFile });
  const authorization: AuthorizationConfig | undefined = guard.authorization;
  if (authorization === undefined) {
    throw new CliError('NIDO_CLI_FLAG_INVALID',
      'there are no rules to ask: name a file with --acl-file, or a --config that has an '
      + '"authorization"');
  }
  const { createAuthorizer, testAcl } = await import('../../guard/index.js');
  const authorizer = createAuthorizer(authorization);
  try {
    return testAcl(authorizer, question);
  } finally {
    authorizer.close();
  }
}

function actionOf(text: string): AclQuestion['action'] {
  const action = ACTIONS.find((known) => known === text);
  if (action !== undefined) return action;
  throw new CliError('NIDO_CLI_FLAG_INVALID',
    `${text}: the action is one of ${ACTIONS.join(', ')}`);
}

function qosOf({ qos = '0' }: AclFlags): 0 | 1 | 2 {
  if (qos === '0' || qos === '1' || qos === '2') return Number(qos) as 0 | 1 | 2;
  throw new CliError('NIDO_CLI_FLAG_INVALID', `--qos ${qos}: must be 0, 1 or 2`);
}
