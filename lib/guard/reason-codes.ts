/** CONNACK Reason Codes of MQTT 5 that guards answer with. */
export const BAD_USER_NAME_OR_PASSWORD = 0x86;
export const NOT_AUTHORIZED = 0x87;
export const SERVER_UNAVAILABLE = 0x88;
export const SERVER_BUSY = 0x89;
export const BANNED = 0x8a;
export const BAD_AUTHENTICATION_METHOD = 0x8c;
export const QUOTA_EXCEEDED = 0x97;
export const CONNECTION_RATE_EXCEEDED = 0x9f;
