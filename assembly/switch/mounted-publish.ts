/** A PUBLISH from behind a mount point: its names become the broker's before anybody reads them. */
import { DETAIL_MEMORY, DETAIL_TOPIC_LENGTH } from '../shared/abi';
import { RESPONSE_TOPIC } from '../shared/property';
import { QUOTA_EXCEEDED, TOPIC_NAME_INVALID } from '../shared/reason-code';
import { properties } from '../codec/properties';
import {
  publishForwardAt, publishForwardLength, publishTopicAt, publishTopicLength, setForwarded,
} from '../codec/publish';
import { Connection } from '../session/connection';
import { failConnection } from '../session/failure';
import {
  isTooLongMounted, mountResponseTopic, mountTopic, mountedBytes,
} from '../session/mount-point';
import { releaseAfterRows } from './events';

/** The interned topic of the name parsed last; 0 = no memory, or too long: then it is closed. */
export function mountTopicName(connection: Connection): u32 {
  const mount = connection.mount;
  if (isTooLongMounted(mount, publishTopicAt, publishTopicLength)) {
    failConnection(connection, TOPIC_NAME_INVALID, DETAIL_TOPIC_LENGTH);
    return 0;
  }
  return mountTopic(mount, publishTopicAt, publishTopicLength);
}

/** The Response Topic follows the Topic Name. False when the connection was closed. */
export function mountForwarded(connection: Connection): bool {
  if (publishForwardLength == 0 || !properties.has(RESPONSE_TOPIC)) return true;
  const mount = connection.mount;
  const at = properties.responseTopicAt;
  const length = properties.responseTopicLength;
  if (isTooLongMounted(mount, at, length)) {
    failConnection(connection, TOPIC_NAME_INVALID, DETAIL_TOPIC_LENGTH);
    return false;
  }
  const block = mountResponseTopic(mount, publishForwardAt, publishForwardLength, at, length);
  if (block == 0) {
    failConnection(connection, QUOTA_EXCEEDED, DETAIL_MEMORY);
    return false;
  }
  const mountedLength = publishForwardLength + mountedBytes(mount, at, length);
  setForwarded(releaseAfterRows(block), mountedLength);
  return true;
}
