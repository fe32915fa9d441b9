#!/usr/bin/env bash
# The last export of OpenTelemetry metrics misses every gauge whose callback uses a thread pool.
#
# A good engineer guesses: a callback that has worked at each periodic export works at the last one, at exit, too.
# In fact: the interpreter first forbids new work for all `concurrent.futures` pools (threading's own exit hooks), and
# only then runs `atexit`, where the SDK makes its last collection. `pool.submit` in an observable callback, often hidden
# in a client library or used for a timeout, raises "cannot schedule new futures after shutdown". The SDK logs it and
# exports the rest; counters arrive, the gauge is missing. Since Python 3.12 a plain new thread is refused there as well.
# It matters because: a short job has exactly one export, the last one, and its gauges never arrive, though every test
# with `force_flush()` passes.
# Source: threading._register_atexit; opentelemetry-sdk, MeterProvider(shutdown_on_exit=True); seen with the versions
# below.
. "$(dirname "$0")/prelude"
install opentelemetry-sdk==1.45.2

cat > job.py <<'EOP'
from concurrent.futures import ThreadPoolExecutor

from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, PeriodicExportingMetricReader


class Printer(MetricExporter):
    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        scopes = [scope for resource in metrics_data.resource_metrics for scope in resource.scope_metrics]
        print(*sorted(metric.name for scope in scopes for metric in scope.metrics), flush=True)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis=10_000):
        return True

    def shutdown(self, timeout_millis=30_000, **kwargs):
        pass


provider = MeterProvider(metric_readers=[PeriodicExportingMetricReader(Printer())])
meter = provider.get_meter("job")
pool = ThreadPoolExecutor(1)
meter.create_observable_gauge("gauge", callbacks=[lambda options: [Observation(pool.submit(len, "four").result(1))]])
meter.create_counter("counter").add(1)
provider.force_flush()
EOP
"$python" job.py 2> log | tee exports
echo "logged: $(tail -n 1 log)"
[ "$(tr '\n' ',' < exports)" = "counter gauge,counter," ]
