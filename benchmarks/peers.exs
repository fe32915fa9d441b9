# The peer inside one virtual machine: a table of ETS with a check that the process lives, the standard Registry, and a
# GenServer that holds a map with an index of capabilities. Usage: elixir peers.exs ENTRIES REPETITIONS
# Prints lines "name<TAB>nanoseconds for one operation", one for each repetition.

defmodule Book do
  use GenServer

  def init(_), do: {:ok, {%{}, %{}}}

  def handle_call({:put, name, pid, capability}, _from, {entries, index}) do
    index = Map.update(index, capability, [name], &[name | &1])
    {:reply, :ok, {Map.put(entries, name, {pid, capability}), index}}
  end

  def handle_call({:find, capability}, _from, {entries, index} = state) do
    {:reply, for(name <- Map.get(index, capability, []), do: {name, Map.fetch!(entries, name)}), state}
  end
end

defmodule Peers do
  @table :entries

  def run(entries, repetitions) do
    owners = for _ <- 1..1000, do: spawn(fn -> Process.sleep(:infinity) end)
    owner = List.to_tuple(owners)
    :ets.new(@table, [:named_table, :public, :set, read_concurrency: true])
    {:ok, _} = Registry.start_link(keys: :unique, name: Names)
    {:ok, book} = GenServer.start_link(Book, nil)

    for n <- 0..(entries - 1) do
      :ets.insert(@table, {name(n), elem(owner, rem(n, 1000)), %{endpoint: "http://127.0.0.1:9000"}})
      if n < 10_000, do: Registry.register(Names, name(n), n)
      # A thousand members of a thousand owners have the capability that is searched.
      skill = if n < 1000, do: :wanted, else: rem(n, 100)
      GenServer.call(book, {:put, name(n), elem(owner, rem(n, 1000)), skill})
    end

    ids = for _ <- 1..100_000, do: name(:rand.uniform(entries) - 1)
    few = for _ <- 1..100_000, do: name(:rand.uniform(min(entries, 10_000)) - 1)

    for _ <- 1..repetitions do
      report("ETS lookup and Process.alive?", 100_000, fn -> look(ids) end)
      report("Registry.lookup", 100_000, fn -> look_registry(few) end)
      report("GenServer find, 1,000 members, all alive?", 200, fn -> find(book, 200) end)
      fresh = for n <- 1..20_000, do: {:fresh, System.unique_integer(), n}
      report("Registry.register", 20_000, fn -> register(fresh) end)
    end
  end

  defp name(n), do: "agent-" <> String.pad_leading(Integer.to_string(n), 7, "0")

  defp report(what, times, work) do
    :erlang.garbage_collect()
    begin = System.monotonic_time(:nanosecond)
    work.()
    IO.puts("#{what}\t#{(System.monotonic_time(:nanosecond) - begin) / times}")
  end

  defp look([]), do: :ok

  defp look([id | rest]) do
    [{_, pid, _}] = :ets.lookup(@table, id)
    true = Process.alive?(pid)
    look(rest)
  end

  defp look_registry([]), do: :ok

  defp look_registry([id | rest]) do
    [{_, _}] = Registry.lookup(Names, id)
    look_registry(rest)
  end

  defp find(_, 0), do: :ok

  defp find(book, n) do
    found = for {name, {pid, _}} <- GenServer.call(book, {:find, :wanted}), Process.alive?(pid), do: name
    1000 = length(found)
    find(book, n - 1)
  end

  defp register([]), do: :ok

  defp register([id | rest]) do
    {:ok, _} = Registry.register(Names, id, nil)
    register(rest)
  end
end

[entries, repetitions] = Enum.map(System.argv(), &String.to_integer/1)
Peers.run(entries, repetitions)
