# SPDX-License-Identifier: GPL-3.0-or-later
# What verdicts.py does, for a Perl worker: words of the Subject choose the verdict, X-Hold names a file to wait for.

sub filter_begin {
    my ($entity) = @_;
    chomp(my $hold = $entity->head->get("X-Hold") // "");
    wait_while_there_is($hold) if $hold ne "";
    return action_bounce("no thank you, 50% sure", "554", "5.7.9") if $Subject =~ /\breject\b/;
    return action_tempfail("come back later", "450", "4.7.9") if $Subject =~ /\btempfail\b/;
    return action_discard() if $Subject =~ /\bdiscard\b/;
    action_sm_quarantine("looks odd") if $Subject =~ /\bquarantine\b/;
    action_delete_all_headers("X-Many") if $Subject =~ /\bstrip\b/;
    action_add_header("X-Queue-ID", $QueueID) if $Subject =~ /\bmark\b/;
}

# Tell in FILE.worker who waits, and wait until FILE is gone: a test kills in the meantime what it wants to see killed.
sub wait_while_there_is {
    my ($file) = @_;
    return unless -e $file;
    open(my $told, ">", "$file.new") or die "$file.new: $!";
    print $told $$;
    close($told);
    rename("$file.new", "$file.worker");
    for (my $turn = 0; $turn < 1200 && -e $file; $turn++) {
        select(undef, undef, undef, 0.05);
    }
}

sub filter {
    my ($entity, $name, $extension, $type) = @_;
    return action_drop_with_warning("$name was removed") if $name =~ /\.exe$/i;
    return action_accept();
}

1;
