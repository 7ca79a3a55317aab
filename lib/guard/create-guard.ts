/** The guards with the core's own index under their rules: what applications call. */
import { TopicMatcher } from '../core/topic-matcher.js';
import { buildAuthorizer, buildGuard } from './guard.js';
import type { AuthorizationConfig, Guard, GuardConfig, GuardNeeds } from './guard.js';
import type { RulesAuthorizer } from './rules/rules-authorizer.js';

export type GuardSurroundings = Omit<GuardNeeds, 'createFilterSet'>;

const withIndex = (surroundings: GuardSurroundings): GuardNeeds => ({
  ...surroundings, createFilterSet: () => new TopicMatcher(),
});

/**
 * Makes the guards of one broker. Throws a GuardError for what cannot be built.
 *
 *     const guard = createGuard({
 *       authentication: [{ kind: 'password-file', path: '/etc/nidomq/passwords' }],
 *       authorization: { aclFile: '/etc/nidomq/acl' },
 *     });
 *     const broker = new Broker({ ...guard.brokerOptions });
 */
export function createGuard(config: GuardConfig, surroundings: GuardSurroundings = {}): Guard {
  return buildGuard(config, withIndex(surroundings));
}

/** Rules alone, as an Authorizer. */
export function createAuthorizer(
  config: AuthorizationConfig, surroundings: GuardSurroundings = {},
): RulesAuthorizer {
  return buildAuthorizer(config, withIndex(surroundings));
}
