/**
 * Cached verdicts of the publish policy: may this connection publish to this topic, with this QoS
 * and RETAIN? The control plane is asked once; its answer is kept per connection and topic until
 * the rules change. One bit for each of the 6 combinations of QoS and RETAIN.
 */
import { TopicEntry } from '../index/topic-intern';
import { Connection } from './connection';
import { keepVerdict, verdictIn, verdictTable } from './verdict-table';

@inline
function bitOf(qos: u32, retain: u32): u32 {
  return 1 << ((qos << 1) | retain);
}

export function cachedVerdict(connection: Connection, topic: u32, qos: u32, retain: u32): u32 {
  return verdictIn(
    connection.verdicts, changetype<TopicEntry>(topic).serial, bitOf(qos, retain),
  );
}

export function rememberVerdict(
  connection: Connection, topic: u32, qos: u32, retain: u32, verdict: u32,
): void {
  const serial = changetype<TopicEntry>(topic).serial;
  keepVerdict(connection.verdicts, serial, bitOf(qos, retain), verdict);
  connection.verdicts = verdictTable;
}
