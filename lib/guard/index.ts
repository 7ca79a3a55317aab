/** Guards: who may come in, what they may do, how much they may take. */
export { ChainAuthenticator } from './authentication/chain-authenticator.js';
export {
  AnonymousAuthenticator, CertificateAuthenticator,
} from './authentication/certificate-authenticator.js';
export type { CertificateOptions } from './authentication/certificate-authenticator.js';
export { HttpAuthenticator } from './authentication/http-authenticator.js';
export type { HttpAuthenticatorOptions } from './authentication/http-authenticator.js';
export { JwtAuthenticator } from './authentication/jwt-authenticator.js';
export type { JwtAlgorithm, JwtKeys, JwtOptions } from './authentication/jwt-authenticator.js';
export {
  PasswordAuthenticator, PasswordFileAuthenticator, UsersAuthenticator,
} from './authentication/password-authenticator.js';
export type { ConfiguredUser } from './authentication/password-authenticator.js';
export { parsePasswordFile } from './authentication/password-file.js';
export type { StoredUser } from './authentication/password-file.js';
export { ScramAuthenticator } from './authentication/scram.js';
export type { ScramOptions, ScramUser } from './authentication/scram.js';
export { testAcl } from './commands/acl-test.js';
export type { AclAnswer, AclQuestion } from './commands/acl-test.js';
export { checkGuardConfig } from './commands/check-config.js';
export type { ConfigProblem } from './commands/check-config.js';
export { passwordLine, removeUser, setPassword } from './commands/passwd.js';
export type { PasswdOptions } from './commands/passwd.js';
export { createAuthorizer, createGuard } from './create-guard.js';
export type { GuardSurroundings } from './create-guard.js';
export { GuardError } from './errors.js';
export { buildAuthorizer, buildGuard } from './guard.js';
export type {
  AuthenticationConfig, AuthorizationConfig, Guard, GuardConfig, GuardNeeds,
} from './guard.js';
export { guardLimitDefaults, guardLimits } from './guard-limits.js';
export type { GuardLimits } from './guard-limits.js';
export { BanList } from './limits/ban-list.js';
export type { Ban, BanKind, BanSubject } from './limits/ban-list.js';
export { ConnectionGate } from './limits/connection-gate.js';
export type { ListenerGuardLimits } from './limits/listener-gates.js';
export type { AdmissionAnswer, Admitted, DoorAnswer } from './limits/connection-gate.js';
export { FlappingDetector } from './limits/flapping-detector.js';
export { PublishRate } from './limits/publish-rate.js';
export { TokenBucket } from './limits/token-bucket.js';
export { connectionLine, printable, redact, redactText, redactingLogger } from './redact.js';
export type { FilterSet, FilterSetFactory } from './rules/filter-set.js';
export type { AccessRule, RuleOrigin } from './rules/rule.js';
export { RuleSet } from './rules/rule-set.js';
export type { AccessQuestion, AccessRules, Decision } from './rules/rule-set.js';
export {
  AclFileRules, ClaimRules, ConfiguredRules, RulesAuthorizer, RulesFile,
} from './rules/rules-authorizer.js';
export type { LiveRules, RulesAuthorizerOptions } from './rules/rules-authorizer.js';
export {
  argon2Available, hashPassword, parsePasswordHash, verifyPassword,
} from './secret/password-hash.js';
export type { PasswordFormat, PasswordHash, ScramCredential } from './secret/password-hash.js';
