/** The work of `nidomq acl test <client> <user> <publish|subscribe|receive> <topic>`. */
import type { AccessQuestion } from '../rules/rule-set.js';
import type { RulesAuthorizer } from '../rules/rules-authorizer.js';

export interface AclQuestion {
  readonly clientId: string;
  /** Left out: a client without a user name. */
  readonly username?: string;
  readonly roles?: readonly string[];
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly action: 'publish' | 'subscribe' | 'receive';
  readonly topic: string;
  readonly qos?: 0 | 1 | 2;
  readonly retain?: 'retained' | 'plain';
}

export interface AclAnswer {
  /** `filtered`: the subscription is taken, and every delivery is looked at on its own. */
  readonly verdict: 'allow' | 'deny' | 'filtered';
  /** The rule that decided as it is written, with file and line where there are any. */
  readonly decidedBy: string;
}

export function testAcl(authorizer: RulesAuthorizer, question: AclQuestion): AclAnswer {
  const { clientId, username, roles, claims, topic, qos = 0 } = question;
  const who = { clientId, username, roles, claims };
  const decision = authorizer.explain(who, accessQuestion(question));
  const { rule } = decision;
  const place = rule?.path === undefined ? '' : `${rule.path}:${rule.line ?? ''} `.replace(
    ': ', ' ',
  );
  const decidedBy = rule ? `${place}${rule.text}` : decision.reason ?? 'no rule';
  if (decision.verdict === 'allow') return { verdict: 'allow', decidedBy };
  const taken = question.action === 'subscribe' && authorizer.canSubscribe(who, topic, { qos });
  return taken
    ? {
      verdict: 'filtered',
      decidedBy: `wider than the rules, every delivery is asked (${decidedBy})`,
    }
    : { verdict: 'deny', decidedBy };
}

function accessQuestion(question: AclQuestion): AccessQuestion {
  const { action, topic, qos = 0, retain } = question;
  switch (action) {
    case 'publish': return {
      kind: 'publish', topicName: topic, qos, retain: retain === 'retained',
    };
    case 'subscribe': return { kind: 'subscribe', topicFilter: topic, qos };
    case 'receive': return { kind: 'receive', topicName: topic };
  }
}
