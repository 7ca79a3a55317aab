/** The properties that travel with a message: valid, because they were checked when they came. */
import { PAYLOAD_FORMAT_INDICATOR, RESPONSE_TOPIC, USER_PROPERTY } from '../shared/property';
import { loadTwoBytes } from '../memory/bytes';

/**
 * Where the Response Topic property begins (its id, then two bytes of length); 0 = there is none.
 */
export function findResponseTopic(at: u32, end: u32): u32 {
  while (at < end) {
    const id = <u32>load<u8>(at);
    if (id == RESPONSE_TOPIC) return at;
    at++;
    if (id == PAYLOAD_FORMAT_INDICATOR) {
      at++;
    } else {
      at += 2 + loadTwoBytes(at);
      if (id == USER_PROPERTY) at += 2 + loadTwoBytes(at);
    }
  }
  return 0;
}
