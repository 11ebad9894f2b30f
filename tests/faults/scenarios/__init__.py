"""All scenarios, in the order in which they are told."""

from collections.abc import Mapping

from tests.faults.scenario import Scenario
from tests.faults.scenarios import (
    applications,
    cancelling,
    clocks,
    cluster,
    instances,
    network,
    servers,
)

__all__ = ["SCENARIOS"]

SCENARIOS: Mapping[str, Scenario] = {
    each.name: each
    for each in (
        instances.nothing,
        instances.crashing_instances,
        instances.zombies,
        instances.zombies_in_calls,
        instances.rolling_restart,
        cancelling.cancel_storm,
        applications.raising_triggers,
        applications.exiting_triggers,
        applications.poison,
        applications.hanging_triggers,
        applications.cancelled_hanging_triggers,
        applications.poisonous_data,
        applications.extreme_times,
        applications.extreme_times_in_whole_seconds,
        clocks.wrong_clocks,
        clocks.jumping_clocks,
        servers.crashing_server,
        servers.restarted_server,
        servers.frozen_server,
        servers.backlog,
        servers.lock_storm,
        servers.few_connections,
        servers.full_disk,
        servers.switchover,
        servers.failover,
        network.cut_before_commit,
        network.cut_after_commit,
        network.cut_at_commit,
        network.cut_at_commit_mysqldb,
        network.abandoned_transactions,
        network.silence,
        network.late_messages,
        network.long_silence,
        network.cut_off_instances,
        network.slow_and_resetting,
        network.half_open_connections,
        network.refused_connections,
        cluster.galera_conflicts,
        cluster.galera_crashed_node,
        cluster.galera_frozen_node,
        cluster.galera_isolated_node,
    )
}
